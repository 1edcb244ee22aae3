# SPDX-License-Identifier: Apache-2.0
"""Files of codes (``.npy``): a graph's inputs, and the paths of its outputs."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from simulator.boundary import problem_of_codes, problem_of_storage
from simulator.errors import InputError
from simulator.graph.graph import Tensor
from simulator.graph.names import printable
from simulator.numerics.float_type import Array

_LONGEST_REASON = 200


def read_codes(path: Path, tensor: Tensor, limit: int | None = None) -> Array:
    """Read codes [images, ...] of a graph's input, the first ``limit`` of them.

    Nothing is read, and no memory taken, before the header goes with the tensor and with the
    file's length. Codes in another byte order or in column-major order are the same codes.

    Raises
    ------
    InputError
        If the file is not one array of such codes, which may be none, or of another type.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a file of codes, wanted a .npy")
    mapped = mapped_array(path)
    problem = problem_of_storage(mapped.shape, mapped.dtype.newbyteorder("="), tensor)
    if problem is None:
        codes: Array = np.array(mapped[:limit], tensor.type.dtype, order="C")
        problem = problem_of_codes(codes, tensor)
    if problem is not None:
        raise InputError(f"{path}: input {tensor.name}: {problem}")
    return codes


def mapped_array(path: Path) -> Array:
    """Return the array of a ``.npy`` file, mapped into memory; nothing in it is ever run.

    Raises
    ------
    InputError
        If the file is not one array of plain numbers, whole.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            array: Array = np.lib.format.open_memmap(path, mode="r")
        whole = array.offset + array.nbytes  # type: ignore[attr-defined]
    except Exception as error:  # damaged headers are parsed as Python: no common base class
        reason = printable(str(error))[:_LONGEST_REASON]
        raise InputError(f"{path}: not a .npy file of codes ({reason})") from error
    if whole != path.stat().st_size:
        raise InputError(
            f"{path}: has {path.stat().st_size} bytes, its header says {whole}: not one .npy array"
        )
    return array


def codes_path(folder: Path, name: str, batch: int) -> Path:
    """Return the file of a tensor's codes: ``NAME.BATCH.npy``, right in ``folder``.

    Raises
    ------
    InputError
        If the name would lead out of the folder, which no valid graph's does.
    """
    path = folder / f"{name}.{batch:05d}.npy"
    if path.parent.resolve() != folder.resolve():
        raise InputError(f"tensor {printable(name)}: its file would lie outside {folder}")
    return path
