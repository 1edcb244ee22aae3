# SPDX-License-Identifier: Apache-2.0
"""An IntGraph as .tflite models for an engine: cut where it lacks an operator, and run.

Another engine runs what one lacks. An interpolated table has no operator in any: its results are
inputs. What a file says is :mod:`simulator.export.tflite_graph`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lite_oracle import Engine, Lite

from simulator.export.tflite_graph import Integers, Translation, from_file, to_file, translate_op
from simulator.export.tflite_scales import table_operator
from simulator.graph import IntGraph
from simulator.graph.ops import InterpolatedLookup, Lookup, Op

# What TensorFlow Lite Micro's interpreter has no kernel for, of the operators used here.
MISSING: Mapping[Engine, frozenset[str]] = MappingProxyType({Engine.TFLM: frozenset({"GELU"})})
INSTEAD = Engine.LITERT_REF


@dataclass
class Piece:
    """Consecutive operators that one engine runs."""

    translation: Translation
    engine: Engine

    @property
    def kinds(self) -> Mapping[str, str]:
        """The operator that computes each tensor, by the tensor's name."""
        return self.translation.kinds

    def run(self, lite: Lite, given: Mapping[str, Integers]) -> dict[str, Integers]:
        """Return the graph's codes of every result, from those of the inputs."""
        found = self.translation
        graph, file = found.graph, found.file
        file.inputs = [found.tensors[name] for name in found.inputs]
        file.outputs = [found.tensors[name] for name in found.kinds]
        stored = {name: to_file(given[name], graph.tensors[name]) for name in found.inputs}
        results = lite.run(file, stored, engine=self.engine, all_tensors=True)
        return {name: from_file(results[name], graph.tensors[name]) for name in found.kinds}


def pieces(graph: IntGraph, engine: Engine, images: int) -> list[Piece]:
    """Translate a graph, or a part of one (:func:`graph_part.part`).

    Parameters
    ----------
    engine
        who is to run it; :data:`INSTEAD` runs what that one lacks
    images
        how many are run at a time
    """
    done: list[Piece] = []
    for op in graph.ops:
        if op.name in without_operator(graph):
            continue
        wanted = INSTEAD if _is_missing(graph, op, engine) else engine
        if not done or done[-1].engine is not wanted:
            done.append(Piece(Translation(graph, images), wanted))
        translate_op(done[-1].translation, op)
    return done


def _is_missing(graph: IntGraph, op: Op, engine: Engine) -> bool:
    missing = MISSING.get(engine, frozenset())
    return isinstance(op, Lookup) and table_operator(graph, op)[0] in missing


def without_operator(graph: IntGraph) -> list[str]:
    """Return the results of interpolated tables: GELU of 16-bit codes is nobody's operator."""
    return [op.name for op in graph.ops if isinstance(op, InterpolatedLookup)]


def run_pieces(
    lite: Lite, translated: Collection[Piece], inputs: Mapping[str, Integers]
) -> dict[str, Integers]:
    """Return the graph's codes of every tensor, each piece reading what those before computed."""
    known = dict(inputs)
    for piece in translated:
        known |= piece.run(lite, known)
    return known
