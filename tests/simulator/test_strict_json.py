# SPDX-License-Identifier: Apache-2.0
"""JSON that every reader takes for the same: what the standard library lets pass is refused."""

from __future__ import annotations

import json

import pytest

from simulator.strict_json import dumps, loads


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps({"a": [value]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("1e999", "no number that a float64 can hold"),
        ('{"a": 1, "b": 2, "a": 1}', "key 'a' twice"),
        ('{"a": 1, "b": 2, "c": 3, "b": 4, "a": 5}', "key 'b' twice"),
        (
            f"{{{', '.join(f'{chr(34)}{n % 100_000}{chr(34)}: 0' for n in range(200_000))}}}",
            "key '0' twice",
        ),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "an integer of 5000 digits"),
        ('["\\ud800"]', "surrogates not allowed"),
        ('{"\\ud800": 1}', "surrogates not allowed"),
        ("{", "property name"),
        ("", "Expecting value"),
    ],
)
def test_what_is_no_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loads(text)
    with pytest.raises(ValueError, match=message):
        loads(text.encode())


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        loads(b'"\xff"')


def test_all_else_is_read_as_the_standard_library_reads_it() -> None:
    text = '{"a": [1, -2.5e3, null, true, "é \\ud83d\\ude00"], "b": {"a": 1}}'
    assert loads(text) == json.loads(text)
    assert loads(dumps(loads(text), indent=1)) == json.loads(text)
