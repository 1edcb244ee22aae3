# SPDX-License-Identifier: Apache-2.0
"""Valid names of graphs, profiles, tensors and ops, and the quoting of text that is no such name.

Names become parts of file names (``NAME.00000.npy``) and lines of terminals and pages, so they are
plain: ASCII letters, digits and ``_``, with ``-`` and single dots between them.
"""

from __future__ import annotations

import re

LONGEST_NAME = 200  # file systems take 255 bytes, of which file names need some for their endings
_LONGEST_QUOTED = 80
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


def is_name(text: str) -> bool:
    """Return whether ``text`` is a name: not a path, nothing that a terminal would act on."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def quoted(value: object) -> str:
    """Return what was read from a file, safe to print: a name as it is, others escaped and cut."""
    if isinstance(value, str) and is_name(value):
        return value
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= _LONGEST_QUOTED else f"{text[:_LONGEST_QUOTED]}…"
    return ascii(cut) if isinstance(value, str) else printable(cut)


def printable(text: str) -> str:
    """Return ``text`` with what no terminal should get (controls, lone surrogates) escaped."""
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text
    )
