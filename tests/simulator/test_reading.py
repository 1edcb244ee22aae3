# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.reading import read_bytes, regular_size


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
