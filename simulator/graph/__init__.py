# SPDX-License-Identifier: Apache-2.0
"""The IntGraph: what the chip computes, as data. See ``docs/ir.md``."""

from simulator.graph.builder import GraphBuilder
from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.storage import load, save, sha256
from simulator.graph.text import text
from simulator.graph.verify import verify

__all__ = ["GraphBuilder", "IntGraph", "Role", "Tensor", "load", "save", "sha256", "text", "verify"]
