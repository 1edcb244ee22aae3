# SPDX-License-Identifier: Apache-2.0
"""A graph as two files: canonical ``graph.json`` (one op per line) and ``graph.safetensors``.

The JSON holds a sha256 of every constant's codes, so the sha256 of the JSON identifies both files.
Metadata stays out of the safetensors file: with several keys its bytes are not reproducible
(safetensors issue 584).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from simulator.errors import InputError
from simulator.files import replace_file, write_text
from simulator.graph.canonical import canonical_json, sha256
from simulator.graph.decoding import decode
from simulator.graph.graph import IntGraph
from simulator.graph.names import printable, quoted
from simulator.graph.verify import verify
from simulator.numerics.float_type import Array
from simulator.reading import read_safetensors, read_text

__all__ = ["JSON_NAME", "TENSORS_NAME", "canonical_json", "load", "save", "sha256"]

JSON_NAME = "graph.json"
TENSORS_NAME = "graph.safetensors"
MOST_JSON_BYTES = 1 << 28
_PROBLEMS_TOLD, _LONGEST_PROBLEM = 8, 400


def save(graph: IntGraph, folder: Path) -> str:
    """Write ``graph.json`` and ``graph.safetensors`` into ``folder``; return the sha256.

    Each file is written under a temporary name and renamed, the tensors first: a killed save
    leaves no pair that loads and is wrong, because the JSON names the hash of every constant.

    Raises
    ------
    InputError
        If the graph is not valid, so that nothing is written that :func:`load` would refuse, or
        the folder cannot be written.
    """
    refuse_problems(f"graph {quoted(graph.name)}", verify(graph))
    tensors = {name: np.ascontiguousarray(graph.constants[name]) for name in graph.constants}
    text = canonical_json(graph)
    with replace_file(folder / TENSORS_NAME) as temporary:
        temporary.write_bytes(serialize(tensors))
    write_text(folder / JSON_NAME, text)
    return hashlib.sha256(text.encode()).hexdigest()


def load(path: Path) -> IntGraph:
    """Read and verify a graph from its folder or its ``graph.json``.

    Raises
    ------
    InputError
        If a file is missing, truncated, altered, of another format, or the graph is not valid.
    """
    json_path = path / JSON_NAME if path.is_dir() else path
    tensors_path = json_path.with_name(TENSORS_NAME)
    try:
        text = _read_text(json_path)
        constants = _read_constants(tensors_path)
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename or tensors_path}: not found; a graph is the two files {JSON_NAME} "
            f"and {TENSORS_NAME}, as `aocq lower` and `aocq verify` write them"
        ) from error
    except OSError as error:
        raise InputError(
            f"{error.filename or tensors_path}: cannot be read ({error.strerror or error}); name "
            "a graph's folder"
        ) from error
    try:
        graph = decode(text, constants)
    except ValueError as error:
        raise InputError(f"{json_path}: not a valid graph: {error}; write it again") from error
    refuse_problems(str(json_path), verify(graph), "; write it again")
    if canonical_json(graph) != text:
        raise InputError(
            f"{json_path}: differs from the canonical form of its own content (edited by hand, or "
            f"{TENSORS_NAME} belongs to another graph); write the graph again"
        )
    return graph


def _read_text(path: Path) -> str:
    try:
        return read_text(path, MOST_JSON_BYTES)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a graph ({error}); write it again") from error


def _read_constants(path: Path) -> dict[str, Array]:
    content = read_safetensors(path)
    try:
        return deserialize(content)
    except SafetensorError as error:
        reason = printable(str(error))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        # Types and shapes that the format has and numpy has not.
        reason = f"not the codes of a graph: {printable(f'{type(error).__name__}: {error}')}"
    raise InputError(f"{path}: damaged ({reason[:_LONGEST_PROBLEM]}); write the graph again")


def refuse_problems(place: str, problems: Sequence[str], way_out: str = "") -> None:
    """Raise an InputError with the first broken rules, if there are any."""
    if problems:
        told = [problem[:_LONGEST_PROBLEM] for problem in problems[:_PROBLEMS_TOLD]]
        if len(problems) > len(told):
            told.append(f"and {len(problems) - len(told)} more")
        raise InputError(f"{place}: not a valid graph: {'; '.join(told)}{way_out}")
