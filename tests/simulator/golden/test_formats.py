# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes
import io
import shutil
import subprocess

import numpy as np
import pytest
from small_graphs import input_codes

from simulator.executor import Executor
from simulator.golden.files import check_files, load_array
from simulator.golden.formats import FORMATS, lanes_of, write_c, write_hex, write_raw
from simulator.golden.manifest import ArrayFile, ArrayRole, Layout
from simulator.golden.record import Recording, record


def lines(values, dtype, bits, word_bits=None):
    stream = io.BytesIO()
    write_hex(np.array(values, dtype), bits, word_bits, stream)
    return stream.getvalue().decode().splitlines()


@pytest.mark.parametrize(
    ("values", "dtype", "bits", "word_bits", "expected"),
    [
        ([0, 1, -1, 127, -128], "int8", 8, None, ["00", "01", "ff", "7f", "80"]),
        ([-1, 2, -524288], "int32", 20, None, ["fffff", "00002", "80000"]),
        ([-1, 1, -16], "int8", 5, None, ["1f", "01", "10"]),  # zero-extended to whole digits
        ([1, 2, 3, 4, 5], "int8", 8, 32, ["04030201", "00000005"]),
        ([1, -1, 7, -8, 3], "int8", 4, 16, ["87f1", "0003"]),
        ([-1, 1], "int8", 3, 8, ["0f"]),  # 001 111, and two bits of the word left
        ([-1, 1, 2], "int8", 3, 8, ["0f", "02"]),
        ([-1, -2], "int32", 20, 32, ["000fffff", "000ffffe"]),
        ([-1, -2], "int32", 20, 8, ["fffff", "ffffe"]),  # wider than the word: one by one
        ([255, 1], "uint8", 8, 16, ["01ff"]),
        ([-(1 << 63), -1], "int64", 64, None, ["8" + "0" * 15, "f" * 16]),
        ([(1 << 63) - 1], "uint64", 63, None, ["7" + "f" * 15]),
        ([1.0, -2.0], "float32", 32, None, ["3f800000", "c0000000"]),
        ([[1, 2], [3, 4]], "int8", 8, 24, ["030201", "000004"]),  # rows go on in a word
        ([1] * 9, "int8", 8, 72, ["01" * 9]),
    ],
)
def test_words_are_as_readmemh_reads_them(values, dtype, bits, word_bits, expected):
    assert lines(values, dtype, bits, word_bits) == expected


@pytest.mark.parametrize("bits", [1, 3, 4, 8, 13, 20, 32, 64])
@pytest.mark.parametrize("word_bits", [None, 8, 31, 64, 129])
def test_words_hold_all_elements_in_order(bits, word_bits, monkeypatch):
    monkeypatch.setattr("simulator.golden.formats._ELEMENTS_AT_ONCE", 10)
    rng = np.random.default_rng(bits)
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    values = rng.integers(low, high, 37, dtype=np.int64, endpoint=True)
    lanes, width = lanes_of(bits, word_bits)
    words = [int(line, 16) for line in lines(values, np.int64, bits, word_bits)]
    assert len(words) == -(-37 // lanes)
    assert all(word < 1 << width for word in words)
    mask = (1 << bits) - 1
    found = [word >> lane * bits & mask for word in words for lane in range(lanes)]
    assert found[:37] == [int(value) & mask for value in values]
    assert not any(found[37:])


def test_raw_is_little_endian():
    stream = io.BytesIO()
    write_raw(np.array([[1, -2], [258, 0]], ">i2"), stream)
    assert stream.getvalue() == bytes([1, 0, 0xFE, 0xFF, 2, 1, 0, 0])


def c_file(array, bits):
    return ArrayFile(
        sha256="0" * 64,
        shape=array.shape,
        dtype=str(array.dtype),
        bits=bits,
        signed=True,
        role=ArrayRole.RESULT,
        zero_point=0,
        scale=(),
        layout=Layout.IMAGES_FIRST,
    )


@pytest.mark.parametrize(
    "values",
    [
        np.array([[-128, 127, 0]], np.int8),
        np.array([65535, 0], np.uint16),
        np.array([-(1 << 31), (1 << 31) - 1], np.int32),
        np.array([-(1 << 63), -1, (1 << 63) - 1], np.int64),
        np.array([(1 << 64) - 1], np.uint64),
        np.array([0.1, -3e-40, 1e30], np.float32),
    ],
    ids=lambda values: str(values.dtype),
)
def test_a_c_compiler_reads_back_the_values(values, tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    with (tmp_path / "x.h").open("wb") as stream:
        write_c(values, c_file(values, 8 * values.itemsize), "x", stream)
    first, count = "const void *first(void) { return x; }", "int count(void) { return X_ELEMENTS; }"
    (tmp_path / "x.c").write_text(f'#include "x.h"\n{first}\n{count}\n')
    library = tmp_path / "x.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, tmp_path / "x.c"], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.first.restype = ctypes.c_void_p
    assert loaded.count() == values.size
    assert ctypes.string_at(loaded.first(), values.nbytes) == values.tobytes()


def test_all_formats_of_a_folder_are_in_its_manifest(block, tmp_path):
    recording = Recording(
        graph=block, ops=block.ops[:2], images=2, source="a test", word_bits=32, formats=FORMATS
    )
    executor = Executor(block, gemm="numba", threads=1)
    manifest = record(recording, executor, [input_codes(block, 2)], tmp_path)
    check_files(tmp_path, manifest)
    below = (tmp_path / name for name in FORMATS)
    on_disk = {
        path.relative_to(tmp_path).as_posix()
        for folder in below
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert on_disk == manifest.derived.keys()
    assert len(on_disk) == 3 * len(manifest.files)
    derived = manifest.derived["hex/tensors/image.hex"]
    assert (derived.word_bits, derived.lanes) == (32, 4)
    text = (tmp_path / "hex/tensors/image.hex").read_text().splitlines()
    assert len(text) == derived.words
    raw = (tmp_path / "raw/tensors/image.bin").read_bytes()
    file = manifest.files["tensors/image.npy"]
    assert raw == load_array(tmp_path, "tensors/image.npy", file).tobytes()
    guards = [
        line
        for path in (tmp_path / "c").rglob("*.h")
        for line in path.read_text().splitlines()
        if line.startswith("#ifndef")
    ]
    assert len({*guards}) == len(manifest.files)
