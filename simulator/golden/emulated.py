# SPDX-License-Identifier: Apache-2.0
"""What the emulator computes of a graph, for a comparison with golden arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from simulator.codes_file import read_codes
from simulator.executor import Executor
from simulator.graph import IntGraph, load, sha256
from simulator.numerics.float_type import Array
from simulator.taps import tensors_named


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedRun:
    """Codes of a run in the order of the graph, and what they were computed from."""

    graph_name: str
    codes: Mapping[str, Array]
    about: Mapping[str, str]


def emulated(graph: IntGraph | Path | str, inputs: Any, taps: Sequence[str] = ()) -> EmulatedRun:
    """Run a graph, and return its outputs and the tensors asked for.

    Parameters
    ----------
    graph
        a graph, its folder or its ``graph.json``
    inputs
        codes [images, ...], or the ``.npy`` file of them
    taps
        names or patterns of further tensors

    Raises
    ------
    InputError
        If a file is none of a graph or of its inputs, or a tap does not exist.
    """
    loaded = graph if isinstance(graph, IntGraph) else load(Path(graph))
    tensor = loaded.tensors[loaded.inputs[0]]
    codes = (
        read_codes(Path(inputs), tensor)
        if isinstance(inputs, str | PathLike)
        else np.asarray(inputs)
    )
    named = tensors_named(loaded, [*taps, *loaded.outputs])
    run = Executor(loaded, without_torch=True).run(codes, taps=named)
    return EmulatedRun(
        graph_name=loaded.name,
        codes={name: run.taps[name] for name in named},
        about={
            "graph_sha256": sha256(loaded),
            "inputs_sha256": hashlib.sha256(np.ascontiguousarray(codes).tobytes()).hexdigest(),
        },
    )
