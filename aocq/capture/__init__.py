# SPDX-License-Identifier: Apache-2.0
"""Capture of a timm model as a FloatGraph, and a torch interpreter that runs any part of it."""

from aocq.capture.export import UnsupportedOperatorError, capture
from aocq.capture.float_graph import FloatGraph, FloatNode, FloatOp
from aocq.capture.interpreter import run, run_in_parts

__all__ = [
    "FloatGraph",
    "FloatNode",
    "FloatOp",
    "UnsupportedOperatorError",
    "capture",
    "run",
    "run_in_parts",
]
