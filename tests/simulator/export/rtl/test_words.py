# SPDX-License-Identifier: Apache-2.0
"""Memory files: words at the stated width, and back."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.export.rtl.words import memory_codes, memory_text
from simulator.numerics.integer_type import IntType


def test_words_are_twos_complement_at_the_width_of_the_type():
    assert memory_text(np.array([-1, 0, 7, -8]), IntType(bits=4)) == "f\n0\n7\n8\n"
    assert memory_text(np.array([-1, -256]), IntType(bits=9)) == "1ff\n100\n"
    assert memory_text(np.array([[255, 1]]), IntType(bits=8, signed=False)) == "ff\n01\n"
    assert memory_text(np.array([-(1 << 63)]), IntType(bits=64)) == "8" + "0" * 15 + "\n"


@pytest.mark.parametrize("text", ["s1", "u1", "s5", "u8", "s20", "u31", "s33", "s64", "u63"])
def test_words_can_be_read_back(text):
    kind = IntType.parse(text)
    codes = np.array([kind.low, kind.low + 1, 0, kind.high - 1, kind.high], np.int64)
    assert memory_codes(memory_text(codes, kind), kind).tolist() == codes.tolist()


def test_a_code_outside_its_type_is_refused():
    with pytest.raises(ValueError, match=r"codes -9\.\.3 do not fit s4"):
        memory_text(np.array([3, -9]), IntType(bits=4))


def test_an_undefined_word_is_refused():
    with pytest.raises(ValueError, match="xx"):
        memory_codes("01\nxx\n", IntType(bits=8))
