# SPDX-License-Identifier: Apache-2.0
"""What the attack takes for a verdict, and for control characters, is what the product says."""

from __future__ import annotations

import pytest

from attack.files import KINDS
from attack.forked import Ended
from attack.judged import problems


def ended(code: int, err: str = "", out: str = "") -> Ended:
    return Ended(arguments=(), code=code, out=out, err=err, seconds=0, bytes=0, in_time=True)


@pytest.mark.parametrize("err", ["", "overflow", "error: overflow\n", "note: 3 sums overflowed\n"])
def test_a_word_is_no_verdict(err: str) -> None:
    assert problems(ended(1, err)) == ["ended with 1 without a verdict"]


def test_a_gate_s_words_are_a_verdict() -> None:
    assert problems(ended(1, "note: a\ngate failed: latency is 3 ms, at most 2 allowed\n")) == []
    assert problems(ended(1, "gate undecided: energy of one image is not known\n")) == []


@pytest.mark.parametrize("mark", ["\x1b[2J", "\x9b", "\u202e", "\u2028"])
def test_what_drives_a_terminal_is_found(mark: str) -> None:
    assert problems(ended(0, out=f"a{mark}b")) == ["control characters on the terminal"]
    assert problems(ended(0, mark)) == ["control characters on the terminal"]


def test_commands_are_given_the_folders_that_they_read() -> None:
    """Another folder is refused before a file of the attack is looked at."""
    for kind in KINDS:
        for command in kind.commands:
            if command.startswith("accumulators "):
                assert command.split()[1] == "{}/quantized", kind.name
