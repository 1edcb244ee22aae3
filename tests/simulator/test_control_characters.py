# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import unicodedata

import pytest

from simulator.control_characters import escaped
from simulator.errors import AocqError, InputError


def test_no_control_character_is_left_but_newline_and_tab():
    every = "".join(map(chr, range(0x3000)))
    left = {character for character in escaped(every) if unicodedata.category(character) == "Cc"}
    assert left == {"\n", "\t"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x07", "\\u001b[2J\\u0007"),
        ("\x9b31m\x7f", "\\u009b31m\\u007f"),
        ("a\rb", "a\\u000db"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("größe → ✓\n\tüber \udcff", "größe → ✓\n\tüber \udcff"),
    ],
)
def test_control_characters_are_shown(text, shown):
    assert escaped(text) == shown


def test_json_stays_what_it_was():
    value = {"name": "\x1b \x7f \x9b \u2028 é"}
    assert json.loads(escaped(json.dumps(value, ensure_ascii=False))) == value


def test_errors_show_them():
    error = InputError("op \x1b[2J: bad")
    assert isinstance(error, AocqError)
    assert str(error) == "op \\u001b[2J: bad"
