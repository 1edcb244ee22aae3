# SPDX-License-Identifier: Apache-2.0
"""A page as a strict reader sees it: balanced tags, resources, tables cell by cell."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input", "base", "source", "wbr"}
REFERENCES = {"src", "href", "xlink:href", "action", "data", "poster", "srcset", "formaction"}


class ParsedPage(HTMLParser):
    """Parse a page; unbalanced tags raise.

    tags : every opened tag
    ids : every id, in order
    references : every attribute that may name a resource
    tables : rows of cell texts, by the table's id
    exact : the values of <data> elements, by the table's id
    scripts : the texts of script elements
    text : everything that is shown
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.exact: dict[str, list[str]] = {}
        self.scripts: list[str] = []
        self.text = ""
        self._table = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.references += [values[name] for name in values.keys() & REFERENCES]
        if tag == "table":
            self._table = values.get("id", "")
            self.tables[self._table], self.exact[self._table] = [], []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in {"td", "th"}:
            self.tables[self._table][-1].append("")
        elif tag == "data" and self._table in self.exact:
            self.exact[self._table].append(values["value"])
        elif tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[self._table][-1][-1] += data
