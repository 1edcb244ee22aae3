# SPDX-License-Identifier: Apache-2.0
"""Files that unfinished work leaves for its next attempt: read back as they were, or not at all.

Each begins with the sha256 of its folder's name, its own and its content. Whatever happened to one
since (cut, emptied, a bit changed, another's content), the reader finds nothing and makes it again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from simulator.errors import InputError
from simulator.files import replace_file
from simulator.reading import read_bytes, regular_size

LARGEST = 1 << 34  # bytes: a block of the largest network is far below
_LENGTH = 8  # bytes that say how long the content is: a file of another size is not read


def keep(path: Path, content: bytes) -> None:
    """Write ``content``, its length and its digest, whole or not at all.

    The folder's name is in the digest, so it should tell what the content depends on.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    with replace_file(path) as temporary, temporary.open("wb") as file:
        file.write(_head(path, content))
        file.write(content)


def kept(path: Path) -> bytes | None:
    """Return what :func:`keep` wrote; None where that is missing, unreadable or altered."""
    head = hashlib.sha256().digest_size + _LENGTH
    try:
        size = regular_size(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(head)[-_LENGTH:], "little")
        if size != head + length:
            return None
        found = read_bytes(path, LARGEST)
    except (InputError, OSError):
        return None
    content = found[head:]
    return content if found[:head] == _head(path, content) else None


def _head(path: Path, content: bytes) -> bytes:
    name = f"{path.parent.name}/{path.name}".encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(name + b"\0")
    digest.update(content)
    return digest.digest() + len(content).to_bytes(_LENGTH, "little")
