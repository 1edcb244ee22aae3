# SPDX-License-Identifier: Apache-2.0
"""The arrays of a golden folder on disk: written whole, described, read back and checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from simulator.codes_file import mapped_array
from simulator.errors import InputError
from simulator.files import cannot_be_written
from simulator.golden.manifest import (
    MANIFEST_NAME,
    ArrayFile,
    ArrayRole,
    Layout,
    Manifest,
    read_manifest,
)
from simulator.graph.graph import Tensor
from simulator.numerics.float_type import Array, TensorType

TENSORS, CONSTANTS, INNER = "tensors", "constants", "inner"


def tensor_path(name: str) -> str:
    """Return the path of an activation."""
    return f"{TENSORS}/{name}.npy"


def constant_path(name: str) -> str:
    """Return the path of a constant."""
    return f"{CONSTANTS}/{name}.npy"


def inner_path(op: str, intermediate: str) -> str:
    """Return the path of a value inside an op."""
    return f"{INNER}/{op}.{intermediate}.npy"


def describe(
    path: Path, kind: TensorType, role: ArrayRole, tensor: Tensor | None = None
) -> ArrayFile:
    """Return what the manifest says of a ``.npy`` file that has been written.

    Parameters
    ----------
    kind
        the type of its values on the chip
    tensor
        whose zero point and scale hold for the values; none where they have neither
    """
    array = mapped_array(path)
    return ArrayFile(
        sha256=digest(path),
        shape=tuple(array.shape),
        dtype=str(array.dtype),
        bits=kind.bits,
        signed=getattr(kind, "signed", True),
        role=role,
        zero_point=tensor.zero_point if tensor else 0,
        scale=tensor.scale if tensor else (),
        layout=Layout.ROW_MAJOR if role is ArrayRole.CONSTANT else Layout.IMAGES_FIRST,
    )


def save_array(path: Path, array: Array) -> None:
    """Write a ``.npy`` file, row-major and little-endian, into a folder that is being made.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.save(file, np.ascontiguousarray(array, array.dtype.newbyteorder("<")))
    except OSError as error:
        raise cannot_be_written(path, error) from error


def load_array(folder: Path, path: str, file: ArrayFile) -> Array:
    """Return an array of a golden folder, mapped into memory.

    Raises
    ------
    InputError
        If the file is missing, no ``.npy`` file, or not of the shape and type of the manifest.
    """
    place = folder / path
    if not place.is_file():
        raise InputError(f"{place}: not found, but the manifest names it; record it again")
    array = mapped_array(place)
    if (array.shape, str(array.dtype)) != (file.shape, file.dtype):
        raise InputError(
            f"{place}: is {array.dtype}{list(array.shape)}, the manifest says "
            f"{file.dtype}{list(file.shape)}; record it again"
        )
    return array


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path, manifest: Manifest, paths: Collection[str] | None = None) -> None:
    """Compare every file of a golden folder with its sha256.

    Parameters
    ----------
    paths
        the only files to compare; all if left out

    Raises
    ------
    InputError
        If one is missing or another.
    """
    entries: dict[str, Any] = {**manifest.files, **(manifest.derived or {})}
    for path in entries if paths is None else paths:
        entry = entries[path]
        place = folder / path
        if not place.is_file():
            raise InputError(f"{place}: not found, but the manifest names it; record it again")
        if digest(place) != entry.sha256:
            raise InputError(f"{place}: is not the file that was recorded; record it again")


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` once the block succeeds.

    An earlier golden folder goes; anything else stays, and is refused.

    Raises
    ------
    InputError
        If ``folder`` holds something else, or cannot be written.
    """
    refuse_other(folder)
    work = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    try:
        try:
            work.mkdir(parents=True)
        except OSError as error:
            raise cannot_be_written(work, error) from error
        yield work
        _replace(folder, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def refuse_other(folder: Path) -> None:
    """Refuse a folder that holds anything but earlier golden vectors.

    Raises
    ------
    InputError
        If it does, or is a file.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder with --out")
    if not any(folder.iterdir()):
        return
    try:
        read_manifest(folder)
    except InputError as error:
        raise InputError(
            f"{folder}: holds files that are no golden vectors, and stays as it is; name another "
            "folder with --out"
        ) from error


def _replace(folder: Path, work: Path) -> None:
    """Let a complete folder take its place; what was there goes."""
    if not (work / MANIFEST_NAME).is_file():
        raise AssertionError(f"{work}: has no manifest")
    earlier = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        if folder.exists():
            folder.replace(earlier)
        try:
            work.replace(folder)
        except OSError:
            if earlier.exists():
                earlier.replace(folder)
            raise
    except OSError as error:
        raise cannot_be_written(folder, error) from error
    shutil.rmtree(earlier, ignore_errors=True)
