# SPDX-License-Identifier: Apache-2.0
"""Files that unfinished work leaves for its next attempt: read back as they were, or not at all.

Each begins with the sha256 of its name and content. Whatever happened to one since (cut, emptied,
a bit changed, another's content), the reader finds nothing and makes it again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from simulator.errors import InputError
from simulator.files import replace_file
from simulator.reading import read_bytes

LARGEST = 1 << 34  # bytes: a block of the largest network is far below


def keep(path: Path, content: bytes) -> None:
    """Write ``content`` and its digest, whole or not at all.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    with replace_file(path) as temporary:
        temporary.write_bytes(_digest(path.name, content) + content)


def kept(path: Path) -> bytes | None:
    """Return what :func:`keep` wrote; None where that is missing, unreadable or altered."""
    try:
        found = read_bytes(path, LARGEST)
    except (InputError, OSError):
        return None
    size = hashlib.sha256().digest_size
    digest, content = found[:size], found[size:]
    return content if digest == _digest(path.name, content) else None


def _digest(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape") + b"\0" + content).digest()
