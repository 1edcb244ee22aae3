# SPDX-License-Identifier: Apache-2.0
"""The operations of docs/ir.md are those of the code."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.graph.ops import SPECS
from simulator.graph.specification import BEGIN, END, main, operations, rewritten

PAGE = Path(__file__).parents[3] / "docs" / "ir.md"


def test_the_page_is_what_the_docstrings_say():
    page = PAGE.read_text(encoding="utf-8")
    assert rewritten(page) == page, "run `python -m simulator.graph.specification`"


def test_the_page_is_rewritten_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n", encoding="utf-8")
    main([str(page)])
    text = page.read_text(encoding="utf-8")
    assert text == f"before\n\n{BEGIN}\n\n{operations()}\n\n{END}\n\nafter\n"
    main([str(page)])
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}\n{BEGIN}"])
def test_a_page_without_its_marks_is_refused(page):
    with pytest.raises(InputError, match="the page has no operations: it needs the lines"):
        rewritten(page)


@pytest.mark.parametrize("op", SPECS)
def test_every_op_has_its_section_with_all_its_fields(op):
    (section,) = re.findall(rf"^#### {op.__name__}\n(.*?)(?=^#|\Z)", operations(), re.M | re.S)
    last = " ".join(section[section.rindex("Fields: ") :].split())
    line, _, cost = last.partition("In reports")
    assert f"`{SPECS[op].rate}`" in cost or (SPECS[op].rate is None and "MAC engine" in cost)
    names = {declared.name for declared in fields(op)} - {"name"}
    assert set(re.findall(r"`(\w+)`", line)) == names
    described = re.findall(r"^- (`.*?`):", section, re.M)
    assert set(re.findall(r"\w+", " ".join(described))) <= names


@pytest.mark.parametrize("op", SPECS)
def test_docstrings_begin_with_a_sentence_of_one_line(op):
    first, *rest = inspect.getdoc(op).split("\n")
    assert first.endswith(".")
    assert not rest or rest[0] == ""


def test_no_markup_of_docstrings_is_left():
    text = operations()
    assert "``" not in text
    assert "::" not in text
    assert not re.search(r":(class|func|mod|attr|data):", text)
    headings = re.findall(r"^#+ (.*)$", PAGE.read_text(encoding="utf-8"), re.M)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(#([\w-]+)\)", PAGE.read_text(encoding="utf-8")):
        assert target in anchors, target


def test_the_fields_that_files_leave_out_are_named():
    section = re.search(r"#### Slice\n(.*?)####", operations(), re.S)[1]
    assert "; left out at the default: `step` (default 1)." in section
