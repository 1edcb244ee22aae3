# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import resource
from pathlib import Path

import numpy as np
import pytest
from mutations import byte_mutants

from simulator.codes_file import codes_path, read_codes
from simulator.errors import AocqError, InputError
from simulator.graph.graph import Role, Tensor
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.integer_type import IntType

IMAGE = Tensor(name="image", shape=(2, 3), type=IntType(bits=4), role=Role.INPUT)
WIDE = Tensor(name="image", shape=(2, 3), type=IntType(bits=16), role=Role.INPUT)
REAL = Tensor(name="image", shape=(2, 3), type=FLOAT32, role=Role.INPUT)
CODES = np.arange(-8, 10).clip(-8, 7).reshape(3, 2, 3).astype(np.int8)


def saved(path: Path, array: np.ndarray, **options: bool) -> Path:
    np.save(path, array, **options)
    return path


def npy(header: str, content: bytes = b"\0" * 64, version: bytes = b"\x01\x00") -> bytes:
    """A file with this header, whatever it says."""
    line = header.encode("latin-1") + b"\n"
    size = len(line).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + size + line + content


def header_of(shape: str, descr: str = "'|i1'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def refusal(path: Path, tensor: Tensor = IMAGE, limit: int | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_codes(path, tensor, limit)
    assert str(path) in str(caught.value)
    return str(caught.value)


def codes_or_message(path: Path, tensor: Tensor) -> np.ndarray | str:
    """Let any exception but an AocqError through."""
    try:
        return read_codes(path, tensor)
    except AocqError as error:
        return str(error)


@pytest.mark.parametrize("limit", [None, 1, 2, 99])
def test_codes_are_read_as_they_were_saved(tmp_path: Path, limit: int | None) -> None:
    found = read_codes(saved(tmp_path / "codes.npy", CODES), IMAGE, limit)
    assert found.dtype == np.int8
    assert found.tolist() == CODES[:limit].tolist()
    assert found.flags.c_contiguous
    assert found.flags.owndata


@pytest.mark.parametrize("limit", [None, 2])
def test_other_orders_of_bytes_and_dimensions(tmp_path: Path, limit: int | None) -> None:
    columns = saved(tmp_path / "columns.npy", np.asfortranarray(CODES))
    assert b"'fortran_order': True" in columns.read_bytes()
    assert read_codes(columns, IMAGE, limit).tolist() == CODES[:limit].tolist()
    big = saved(tmp_path / "big.npy", CODES.astype(">i2"))
    found = read_codes(big, WIDE, limit)
    assert (found.dtype, found.tolist()) == (np.dtype("=i2"), CODES[:limit].tolist())
    assert found.flags.c_contiguous
    reals = saved(tmp_path / "reals.npy", CODES.astype(">f4"))
    assert read_codes(reals, REAL).tolist() == CODES.tolist()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (CODES[:0], "no images, [images, "),
        (CODES[:, :1], "codes of shape (3, 1, 3) given, [images, 2, 3] wanted"),
        (CODES[0], "codes of shape (2, 3) given, [images, 2, 3] wanted"),
        (CODES[0, 0, 0], "codes of shape () given"),
        (CODES.astype(np.int64), "codes of type int64 given, int8 (s4) wanted"),
        (CODES.astype(np.uint8), "codes of type uint8 given"),
        (CODES.astype(bool), "codes of type bool given"),
        (CODES.astype(np.float32), "codes of type float32 given"),
        (CODES.astype(complex), "codes of type complex128 given"),
        (CODES.astype("U3"), "codes of type <U3 given"),
        (CODES.astype("M8[s]"), "codes of type datetime64[s] given"),
        (CODES.astype([("code", "i1")]), "codes of type [('code', 'i1')] given"),
        (CODES + 1, "code 8 is outside s4"),
        (CODES - 1, "code -9 is outside s4"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    assert message in refusal(saved(tmp_path / "codes.npy", array))


def test_reals_are_finite(tmp_path: Path) -> None:
    values = np.zeros((1, 2, 3), np.float32)
    values[0, 1, 1] = np.nan
    assert "not finite" in refusal(saved(tmp_path / "codes.npy", values), REAL)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = saved(tmp_path / "codes.npy", CODES.astype(object), allow_pickle=True)
    assert "objects" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\x93NUMPY", b"P5 2 2 255\n", b"PK\x03\x04" + bytes(60)),
        npy(header_of("(1, 2, 3)"), b"\0" * 5),
        npy(header_of("(1, 2, 3)"), b"\0" * 7),
        npy(header_of("(2305843009213693951, 2, 3)")),
        npy(header_of("(18446744073709551616, 2, 3)")),
        npy(header_of("(4294967296, 4294967296)")),
        npy(header_of("(-1, 2, 3)")),
        npy(header_of("(1.0, 2, 3)")),
        npy(header_of("(True, 2, 3)"), b"\0" * 6),
        npy(header_of("(" + "1, " * 99 + ")"), b"\0"),
        npy(header_of("(1, 2, 3)", descr="'|V6'")),
        npy(header_of("(1, 2, 3)", descr="'i999'")),
        npy(header_of("(1, 2, 3)", descr="[('a', 'b'")),
        npy(header_of("(1L, 2L, 3L)"), b"\0" * 6),
        npy(header_of("(1, 2, 3)", order="'yes'")),
        npy("[" * 5000),
        npy("(" * 300 + ")" * 300),
        npy("{'descr': __import__('os').system('true')}"),
        npy("é{}'\\x00", version=b"\x03\x00"),
        npy(header_of("(1, 2, 3)"), version=b"\x09\x00"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "codes.npy"
    path.write_bytes(content)
    assert refusal(path).isprintable()


def test_an_archive_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "codes.npz", CODES)
    assert "not a .npy file of codes" in refusal(tmp_path / "codes.npz")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "not a file" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "nowhere.npy")


def test_damaged_files_give_a_message_or_codes(tmp_path: Path) -> None:
    """Whatever is damaged: no other error, no codes that the input does not have, no memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path, accepted = tmp_path / "codes.npy", 0
    for tensor, array in ((IMAGE, CODES), (WIDE, CODES.astype(">i2")), (REAL, CODES.astype("f4"))):
        content = io.BytesIO()
        np.save(content, array)
        for what, mutant in byte_mutants(content.getvalue(), seed=7, count=250):
            path.write_bytes(mutant)
            found = codes_or_message(path, tensor)
            if isinstance(found, str):
                assert str(path) in found, what
                assert found.isprintable(), what
                continue
            accepted += 1
            assert found.shape[1:] == tensor.shape, what
            assert found.dtype == tensor.type.dtype, what
    assert 14 < accepted < 215
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 50_000


def test_codes_are_written_into_the_folder_and_nowhere_else(tmp_path: Path) -> None:
    assert codes_path(tmp_path, "blocks.0.fc1", 3) == tmp_path / "blocks.0.fc1.00003.npy"
    for name in ("../escaped", "/escaped", "a/b", f"../{tmp_path.name}/../escaped"):
        with pytest.raises(InputError, match="outside"):
            codes_path(tmp_path, name, 0)
