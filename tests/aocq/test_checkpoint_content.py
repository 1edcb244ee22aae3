# SPDX-License-Identifier: Apache-2.0
"""Files that are no checkpoint, whatever their suffix, are told for what they are."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from aocq.checkpoint import read
from simulator.errors import InputError

STATE = {"head.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(2)}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 22883148\n"


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message


def _zip(names: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return buffer.getvalue()


def _script() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; its files are still about
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), buffer)
    return buffer.getvalue()


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{"embedding/kernel": np.ones(3, np.float32)})
    return buffer.getvalue()


KINDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "lfs": (lambda: POINTER, r"a git-LFS pointer, .*`git lfs pull`"),
    "page": (lambda: b"\n<!DOCTYPE html>\n<html lang='en'>", r"a web page \(HTML\), not weights"),
    "page_with_a_comment": (lambda: b"<!-- x --><HTML>", "a web page"),
    "xml": (lambda: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "an XML text"),
    "empty": (lambda: b"", "is empty; fetch it again"),
    "zip": (lambda: _zip({"weights.txt": b"x"}), "a zip archive; unpack it"),
    "tar": (_tar, "a tar archive; unpack it"),
    "gzip": (lambda: gzip.compress(b"x"), "a gzip archive; unpack it"),
    "onnx": (lambda: b"\x08\x08\x12\x07pytorch\x1a\x052.3.0:", "an ONNX model"),
    "torchscript": (_script, r"a TorchScript archive, .*torch\.jit\.load"),
    "exported": (lambda: _zip({"m/archive_format": b"pt2"}), r"torch\.export"),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file as Keras writes it"),
    "keras": (lambda: _zip({"model.weights.h5": b"x"}), "a Keras archive"),
    "npz": (_npz, "a NumPy archive"),
    "npy": (lambda: b"\x93NUMPY\x01\x00", "one NumPy array"),
    "gguf": (lambda: b"GGUF\x03\0\0\0", "a GGUF file of quantized weights"),
    "tflite": (lambda: b"\x1c\0\0\0TFL3\x14\0", "a LiteRT"),
    "image": (lambda: b"\x89PNG\r\n\x1a\n", "an image"),
    "index": (
        lambda: b'{"metadata": {}, "weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors"}}',
        r"the index of weights that lie in 2 other files \(m-1\.safetensors, m-2\.safetensors\)",
    ),
    "json": (lambda: b'{"architectures": ["vit"]}', "a JSON text, not weights"),
    "deep_json": (lambda: b'{"a":' * 50_000, "a JSON text, not weights"),
    "text": (lambda: b"Not found\n", "not a checkpoint but a text"),
    "escapes": (lambda: b"\x1b[2J\x1b[31m", "damaged or not a checkpoint"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_told_for_what_it_is(kind: str, suffix: str, tmp_path: Path) -> None:
    content, what = KINDS[kind]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content())
    with pytest.raises(InputError, match=what):
        read(path)
    refused(path)


def test_a_folder_and_what_is_no_file_are_told(tmp_path: Path) -> None:
    assert "but a folder; --weights wants" in refused(tmp_path)
    assert "no such file; --weights wants" in refused(tmp_path / "none.pth")
    pipe = tmp_path / "pipe.pth"
    os.mkfifo(pipe)
    assert "but a pipe or device; --weights" in refused(pipe), "and it is not waited for"
    assert "cannot be read (File name too long)" in refused(tmp_path / ("x" * 300))
    assert "no such file" in refused(pipe / "weights.pth")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "a\0b")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin", ""])
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_content_decides_how_a_file_is_read(form: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    if form == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=form == "zip")
    found = read(path).tensors
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in STATE.items()
    }


def test_an_archive_made_to_fill_the_memory_is_refused(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.pth", tmp_path / "bomb.pth"
    torch.save({"a": torch.zeros(1 << 22)}, plain)
    with zipfile.ZipFile(plain) as archive:
        names = {name: archive.read(name) for name in archive.namelist()}
    path.write_bytes(_zip(names, zipfile.ZIP_DEFLATED))
    assert "as no weights do" in refused(path)
    assert read(plain).tensors["a"].shape == (1 << 22,)
