# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save_file

from simulator import reading
from simulator.errors import InputError
from simulator.reading import read_bytes, read_safetensors, regular_size


def test_a_regular_file_is_read_whole_through_links_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert read_bytes(tmp_path / name) == b"content"
        assert read_bytes(tmp_path / name, largest=7) == b"content"
        assert regular_size(tmp_path / name) == 7


def test_a_larger_file_than_its_kind_can_be_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"sparse: has 1,099,511,627,776 bytes, .* at most 8"):
        read_bytes(tmp_path / "sparse", largest=8)


@pytest.mark.parametrize("read", [read_bytes, regular_size])
def test_what_is_no_file_is_told_and_never_waited_for(read, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: is a named pipe; wanted a regular file"):
        read(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(InputError, match="/dev/zero: is a device"):
        read(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")


def test_a_socket_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(InputError, match="is a socket"):
            regular_size(Path("socket"))


def test_a_large_file_of_tensors_is_read_where_its_header_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LARGEST_TEXT", 64)
    path = tmp_path / os.fsdecode(b"\xff.safetensors")
    save_file({"a": np.arange(100, dtype=np.int8)}, tmp_path / "tensors")
    (tmp_path / "tensors").rename(path)
    assert load(read_safetensors(path))["a"].tolist() == [*range(100)]
    with path.open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="has 1,099,511,627,776 bytes"):
        read_safetensors(path)
    for header in (b"", b"{}", b'{"a": 1}', b'{"a": {"data_offsets": [0, "x"]}}', b"[" * 99_999):
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
        with pytest.raises(InputError, match="at most 0"):
            read_safetensors(path)
