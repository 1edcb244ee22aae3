# SPDX-License-Identifier: Apache-2.0
"""Tables, code and plain text in Markdown (GitHub's dialect), whatever they contain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from reports.format import MISSING


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    """Return ``text`` as a code span that no content can end, for a cell of a table."""
    text = " ".join(text.split()).replace("|", "\\|") or MISSING
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}"


def plain(text: str) -> str:
    """Return ``text`` with everything escaped that Markdown or HTML would read as markup."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word is no markup; names are full of them.
    return re.sub(r"([\\`*\[\]|#~$]|(?<!\w)_|_(?!\w))", r"\\\1", text)
