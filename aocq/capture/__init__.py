# SPDX-License-Identifier: Apache-2.0
"""Capture of a timm model as a FloatGraph, and a torch interpreter that runs any part of it.

A FloatGraph by itself needs no torch: what does is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aocq.capture.float_graph import FloatGraph, FloatNode, FloatOp

if TYPE_CHECKING:
    from aocq.capture.export import UnsupportedOperatorError, capture
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


def __getattr__(name: str) -> Any:
    """Import a name of ``__all__`` that needs torch when it is first asked for."""
    if name in {"UnsupportedOperatorError", "capture"}:
        from aocq.capture import export

        return getattr(export, name)
    if name in {"run", "run_in_parts"}:
        from aocq.capture import interpreter

        return getattr(interpreter, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
