# SPDX-License-Identifier: Apache-2.0
"""The operations of docs/ir.md, written from the docstrings of the ops.

``python -m simulator.graph.specification`` rewrites what stands between the two marks of the page,
``docs/ir.md`` of the current folder or the one that is named.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from itertools import groupby
from pathlib import Path
from textwrap import fill

from simulator.errors import InputError
from simulator.files import write_text
from simulator.graph.op import Op
from simulator.graph.ops import SPECS
from simulator.numerics.added_field import is_left_out

BEGIN = (
    "<!-- Operations: written by `python -m simulator.graph.specification` from docstrings; "
    "change those. -->"
)
END = "<!-- End of the operations. -->"
WIDTH = 100


def operations() -> str:
    """Return the part of the page between its marks: families of ops, in the order of ``SPECS``."""
    parts = []
    for module, ops in groupby(SPECS, key=inspect.getmodule):
        title, *introduction = _paragraphs(module)
        parts += [f"### {title.removesuffix('.')}", *introduction]
        for op in ops:
            parts += [f"#### {op.__name__}", *_paragraphs(op), _fields(op)]
    return "\n\n".join(parts)


def rewritten(page: str) -> str:
    """Return a page with its operations written anew.

    Raises
    ------
    InputError
        If it does not have the two marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"the page has no operations: it needs the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{operations()}\n\n{END}{after}"


def _paragraphs(described: object) -> Iterator[str]:
    """Yield the paragraphs of a docstring as Markdown, code indented, attributes as a list."""
    for paragraph in (inspect.getdoc(described) or "").split("\n\n"):
        if paragraph == "::":
            continue
        if paragraph.startswith("    "):
            yield paragraph
        elif paragraph.startswith("Attributes\n"):
            yield "\n".join(_items(paragraph.splitlines()[2:]))
        else:
            yield _filled(_markdown(re.sub(r"::$", ":", paragraph)))


def _items(lines: list[str]) -> Iterator[str]:
    """Yield a list item for each attribute: its name, then what is indented below it."""
    for item in re.split(r"\n(?=\S)", "\n".join(lines)):
        names, _, text = item.partition("\n")
        names = ", ".join(f"`{name}`" for name in names.split(", "))
        yield _filled(f"- {names}: {_markdown(' '.join(text.split()))}", indent="  ")


def _markdown(text: str) -> str:
    """Return prose with reStructuredText's roles and literals as Markdown's."""
    text = re.sub(r":class:`(\w+)`", lambda found: f"[{found[1]}](#{found[1].lower()})", text)
    text = re.sub(r":(?:func|mod):`([\w.]+)`", r"`\1`", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    return re.sub(r"docs/decisions/(\d+)(\S*?\.md)", r"[\1](decisions/\1\2)", text)


def _filled(text: str, indent: str = "") -> str:
    """Return text in lines of the page's width, the later ones indented."""
    return fill(
        text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _fields(op: type[Op]) -> str:
    """Return the line of an op's fields, and which of them files leave out."""
    written, left_out = [], []
    for declared in fields(op):
        default = declared.default
        if default is not MISSING and is_left_out(declared, default):
            left_out.append(f"`{declared.name}` (default {json.dumps(default)})")
        elif declared.name != "name":
            written.append(f"`{declared.name}`")
    line = f"Fields: {', '.join(written)}"
    if left_out:
        line += f"; left out at the default: {', '.join(left_out)}"
    return _filled(f"{line}. {_in_reports(op)}")


def _in_reports(op: type[Op]) -> str:
    """Return under which name and at which rate reports count an op."""
    spec = SPECS[op]
    name = f"`{spec.name}`" if isinstance(spec.name, str) else "named by a field"
    rate = "the MAC engine" if spec.rate is None else f"the rate `{spec.rate}`"
    return f"In reports {name}, costed by {rate}."


def main(arguments: list[str]) -> None:
    """Rewrite the page that is named, or docs/ir.md."""
    page = Path(arguments[0] if arguments else "docs/ir.md")
    write_text(page, rewritten(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(sys.argv[1:])
