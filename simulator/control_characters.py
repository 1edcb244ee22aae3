# SPDX-License-Identifier: Apache-2.0
"""Control characters, which a terminal obeys, in text that anybody may have written."""

from __future__ import annotations

import re

# C0, delete and C1 drive a terminal; the others turn the direction of text or break its lines.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    r"""Return ``text`` with control characters but newline and tab as ``\uXXXX``.

    File names, names in graphs and messages of libraries may hold escape sequences. The form is
    that of JSON, so that JSON stays what it was.
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
