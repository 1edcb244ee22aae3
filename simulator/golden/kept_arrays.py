# SPDX-License-Identifier: Apache-2.0
"""Golden arrays beside a test: ``NAME.npy``, and ``NAME.json`` that says what it holds.

The JSON is for people and for reviews: shape, type, the ends of the values, and the sha256 of the
``.npy`` file, by which a file that was altered or cut short by hand or by a tool is noticed.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simulator import strict_json
from simulator.errors import InputError
from simulator.files import replace_file, write_text
from simulator.golden.check.difference import difference, told, type_problem
from simulator.numerics.float_type import Array

_KINDS = "biuf"  # bool, signed, unsigned, float


def as_array(value: Any) -> Array:
    """Return what a test hands over as an array in the machine's byte order.

    Raises
    ------
    InputError
        If it has no type of its own (a list), or one that is neither integer, bool nor float, or
        if it has a mask.
    """
    if not hasattr(value, "dtype"):
        raise InputError(
            f"a golden value is an array with a type, this is a {type(value).__name__}; "
            "give numpy.array(values, numpy.int8), or the type that you mean"
        )
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(
            "a golden value is an array without a mask, whose masked values have none; give "
            "array.filled(0), and the mask as an array of its own"
        )
    array = np.asarray(value)
    if array.dtype.kind not in _KINDS or array.dtype.itemsize > 8:
        raise InputError(
            f"a golden array holds integers, bools or floats of at most 64 bits, not {array.dtype}"
        )
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def content_of(array: Array) -> bytes:
    """Return the bytes of the ``.npy`` file of an array: little-endian, row-major."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, array.dtype.newbyteorder("<"), order="C"), allow_pickle=False)
    return buffer.getvalue()


def write(path: Path, array: Array, about: Mapping[str, str]) -> str:
    """Write an array and its JSON, and return what became of them.

    Returns
    -------
    str
        ``unchanged`` where both files say the same already and stay as they are, else ``written``
        or ``changed``
    """
    content = content_of(array)
    text = strict_json.dumps(_described(array, content, about), indent=2) + "\n"
    known = [_bytes_of(path), _bytes_of(_json_path(path))]
    if known == [content, text.encode()]:
        return "unchanged"
    with replace_file(path) as temporary:
        temporary.write_bytes(content)
    write_text(_json_path(path), text)
    return "written" if known[0] is None else "changed"


def _json_path(path: Path) -> Path:
    return path.with_name(f"{path.name.removesuffix('.npy')}.json")


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _described(array: Array, content: bytes, about: Mapping[str, str]) -> dict[str, Any]:
    ends: dict[str, Any] = {}
    if array.size and array.dtype.kind in "iu":
        ends = {"least": int(array.min()), "most": int(array.max())}
    return {
        "format": 1,
        "dtype": str(array.dtype),
        "shape": [*array.shape],
        **ends,
        "sha256": hashlib.sha256(content).hexdigest(),
        **about,
    }


def problem(path: Path, array: Array, about: Mapping[str, str]) -> str | None:
    """Return what speaks against an array by its golden file; None where all is equal.

    Parameters
    ----------
    path
        the ``.npy`` file
    about
        further entries of the JSON, such as the graph's sha256: told where values differ
    """
    content = _bytes_of(path)
    if content is None:
        return f"there is no {path.name} in {path.parent}"
    try:
        described, kept = _read(path, content)
    except ValueError as error:
        return str(error)
    kind = type_problem(kept, array)
    if kind is not None:
        return f"{kind} ({path})"
    found = difference(kept, array)
    if found is None:
        return None
    changed = [
        f"{key} was {described.get(key)}, is {value}"
        for key, value in about.items()
        if described.get(key) != value
    ]
    return "\n  ".join([f"{told(found)[0]} from {path}", *told(found)[1:], *changed])


def _read(path: Path, content: bytes) -> tuple[dict[str, Any], Array]:
    """Return the JSON and the array of a golden file; a ValueError says what is wrong with them."""
    try:
        described = strict_json.loads(_json_path(path).read_bytes())
        kept: Array = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} or its .json cannot be read ({error}); restore both") from error
    if not isinstance(described, dict):
        raise ValueError(f"{_json_path(path)} is no golden array's description; restore it")
    if hashlib.sha256(content).hexdigest() != described.get("sha256"):
        raise ValueError(
            f"{path} is not the file that {_json_path(path).name} describes; restore both"
        )
    return described, kept
