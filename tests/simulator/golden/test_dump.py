# SPDX-License-Identifier: Apache-2.0
"""Dumps in every form: hex, raw, waveforms, files that a mapping names; and damaged ones."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from dump_faults import dump_folder, manifest, unit

from simulator.errors import EnvironmentProblem, InputError
from simulator.golden.check.check import check_dump
from simulator.golden.check.patterns import Compared, patterns
from simulator.golden.check.verdict import Status
from simulator.golden.dump.folder import find_dump
from simulator.golden.dump.hex_words import NotHexError, elements_of, parse_hex
from simulator.golden.dump.mapping import read_mapping
from simulator.golden.formats import write_hex, write_raw
from simulator.numerics.integer_type import IntType

S5, S8, S16, U8 = IntType(bits=5), IntType(bits=8), IntType(bits=16), IntType(bits=8, signed=False)


@pytest.fixture(scope="module")
def add(tmp_path_factory):
    return unit("Add", tmp_path_factory.mktemp("add"))


@pytest.fixture
def dump(tmp_path):
    return dump_folder(tmp_path / "dump")


def judged(of, dump, mapping=None):
    found = find_dump(manifest(of), dump, mapping and read_mapping(mapping))
    return check_dump(of.folder, found).arrays


def map_file(dump, text):
    path = dump / "map.toml"
    path.write_text("[[array]]\nop = 'y'\n" + text)
    return path


def test_words_comments_addresses_and_digits_are_those_of_readmemh():
    text = "// a comment\n@0 0f A_b /* of\nlines */ 1\n@3\n7\n"
    found = parse_hex(text)
    assert found.words == [0x0F, 0xAB, 1, 7]
    assert found.digits == [2, 2, 1, 1]
    unknown = parse_hex("0f\n1x zz\n")
    assert unknown.words == [0x0F, 0x10, 0]
    assert unknown.unknown == {1: (2, "1x"), 2: (2, "zz")}


@pytest.mark.parametrize("word", ["0x20", "0X20"])
def test_a_prefix_of_other_languages_is_an_unknown_digit(word):
    found = parse_hex(f"00\n{word}\n")
    assert found.unknown == {1: (2, word)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("00\n0g\n", "line 2: '0g' is no hex word"),
        ("00\n@5\n01\n", "address 1 has no word"),
        ("00\n01\n@1\n02\n", "line 4: address 1 comes twice"),
        ("00\n-1\n", "line 2: '-1' is no hex word"),
        ("00 /* open\n 01", "is no hex word"),
        ("@g 00", "line 1: '@g' is no address"),
    ],
)
def test_text_that_is_none_is_refused_with_its_line(text, told):
    with pytest.raises(NotHexError, match=told):
        parse_hex(text)


@pytest.mark.parametrize("lanes", [1, 3, 4, 12, 20])
@pytest.mark.parametrize("kind", [S5, S8, U8, S16], ids=str)
def test_elements_are_those_that_were_packed(kind, lanes):
    values = np.random.default_rng(1).integers(kind.low, kind.high + 1, lanes * 7)
    words = [
        sum(int(v) % (1 << kind.bits) << (kind.bits * i) for i, v in enumerate(word))
        for word in values.reshape(-1, lanes)
    ]
    assert elements_of(words, kind, lanes).tolist() == values.tolist()


@pytest.mark.parametrize("kind", [IntType(bits=64), IntType(bits=63, signed=False)], ids=str)
def test_elements_of_the_widest_types(kind):
    words = [value % (1 << 64) for value in (kind.low, kind.high, 1, kind.high - 5)]
    assert elements_of(words, kind, 1).tolist() == [kind.low, kind.high, 1, kind.high - 5]


@pytest.mark.parametrize("word_bits", [None, 8, 32, 28, 256])
def test_hex_as_golden_record_writes_it(add, dump, word_bits):
    with (dump / "y.hex").open("wb") as stream:
        write_hex(add.golden, 8, word_bits, stream)
    if word_bits is None:
        (verdict,) = judged(add, dump)
    else:
        lanes = max(word_bits // 8, 1)
        (verdict,) = judged(add, dump, map_file(dump, f"file = 'y.hex'\nlanes = {lanes}"))
    assert verdict.status is Status.EQUAL


def test_wide_hex_words_are_values_whether_their_sign_is_extended_or_not(add, dump):
    words = [f"{int(code) & 0xFFFFFFFF:08x}" for code in add.golden.ravel()]
    (dump / "y.hex").write_text("\n".join(words))
    assert judged(add, dump)[0].status is Status.EQUAL
    (dump / "y.hex").write_text("\n".join(f"{int(c) & 0xFF:08x}" for c in add.golden.ravel()))
    assert judged(add, dump)[0].status is Status.EQUAL
    words[9] = "00000123"
    (dump / "y.hex").write_text("\n".join(words))
    (verdict,) = judged(add, dump)
    assert verdict.differing == 1
    assert verdict.mismatches[0].got == 0x123


@pytest.mark.parametrize(
    ("above", "digits"),
    [("ff", 2), ("deadbeefdeadbeef", 16), ("0f", 2), ("f" * 20, 20), ("0" * 16 + "f", 17)],
)
@pytest.mark.parametrize("others", ["", "0" * 20])
def test_upper_bits_that_are_no_sign_are_a_wrong_value(add, dump, above, digits, others):
    words = [f"{others}{int(code) & 0xFF:02x}" for code in add.golden.ravel()]
    place = next(i for i, code in enumerate(add.golden.ravel()) if code >= 0)
    words[place] = f"{above:0>{digits}}{words[place][-2:]}"
    (dump / "y.hex").write_text("\n".join(words))
    (verdict,) = judged(add, dump)
    assert (verdict.status, verdict.differing) == (Status.FAULT, 1)


def test_a_sign_may_be_extended_over_more_than_64_bits(add, dump):
    words = [f"{int(code) % (1 << 80):020x}" for code in add.golden.ravel()]
    (dump / "y.hex").write_text("\n".join(words))
    assert judged(add, dump)[0].status is Status.EQUAL
    place = next(i for i, code in enumerate(add.golden.ravel()) if code < 0)
    words[place] = "7" + words[place][1:]
    (dump / "y.hex").write_text("\n".join(words))
    (verdict,) = judged(add, dump)
    assert (verdict.status, verdict.differing) == (Status.FAULT, 1)
    assert f"(word {place}: bits above its 8 are not 0)" in verdict.mismatches[0].got


def test_bits_above_the_lanes_of_a_word_make_its_values_wrong(add, dump):
    words = add.golden.ravel().view(np.uint8).reshape(-1, 4)[:, ::-1]
    lines = [bytes(word).hex() for word in words]
    lines[3] = f"ffff{lines[3]}"
    (dump / "y.hex").write_text("\n".join(lines))
    (verdict,) = judged(add, dump, map_file(dump, "file = 'y.hex'\nlanes = 4"))
    assert (verdict.status, verdict.differing) == (Status.FAULT, 4)
    assert "(word 3: bits above its 32 are not 0)" in verdict.mismatches[0].got


@pytest.mark.parametrize(("spare", "status"), [("00", Status.EQUAL), ("4d", Status.FAULT)])
def test_lanes_behind_the_last_value_are_zero(add, dump, spare, status):
    codes = add.golden.ravel().view(np.uint8).tobytes()
    lines = [codes[i : i + 5][::-1].hex() for i in range(0, len(codes), 5)]
    lines[-1] = spare + lines[-1]
    (dump / "y.hex").write_text("\n".join(lines))
    (verdict,) = judged(add, dump, map_file(dump, "file = 'y.hex'\nlanes = 5"))
    assert verdict.status is status


def test_bits_of_a_signal_above_the_stated_ones_count(add, dump):
    words = [f"0{word}" for word in bits_of(add.golden, 8, 1)]
    mapping = map_file(dump, WAVE + "bits = 8")
    (dump / "run.vcd").write_text(vcd(words, 9))
    assert judged(add, dump, mapping)[0].status is Status.EQUAL
    place = next(i for i, code in enumerate(add.golden.ravel()) if code >= 0)
    words[place] = "1" + words[place][1:]
    (dump / "run.vcd").write_text(vcd(words, 9))
    assert judged(add, dump, mapping)[0].differing == 1


def test_unknown_digits_are_told_with_their_place(add, dump):
    words = [f"{int(code) & 0xFF:02x}" for code in add.golden.ravel()]
    words[70], words[71] = "xx", "0z"
    (dump / "y.hex").write_text("\n".join(words))
    (verdict,) = judged(add, dump)
    assert (verdict.status, verdict.unknown, verdict.differing) == (Status.FAULT, 2, 2)
    assert verdict.mismatches[0].index == (1, 0, 6)
    assert verdict.mismatches[0].got == "xx (line 71)"
    assert not verdict.diagnosed


def test_raw_files_by_their_length(add, dump):
    with (dump / "y.bin").open("wb") as stream:
        write_raw(add.golden, stream)
    assert judged(add, dump)[0].status is Status.EQUAL
    (dump / "y.bin").write_bytes(add.golden.astype("<i4").tobytes())
    (verdict,) = judged(add, dump)
    assert verdict.status is Status.EQUAL
    assert verdict.notes == ("the file has 4 bytes for each value, wanted 1",)
    (dump / "y.bin").write_bytes(add.golden.tobytes()[:-9])
    (verdict,) = judged(add, dump)
    assert [f.kind for f in verdict.findings] == ["truncated"]
    assert verdict.problem == "has 375 values, wanted 384"
    (dump / "y.bin").write_bytes(add.golden.view(np.uint8).astype(">i4").tobytes())
    given = "file = 'y.bin'\nbits = 32\nbyte_order = 'big'"
    (verdict,) = judged(add, dump, map_file(dump, given))
    assert [f.kind for f in verdict.findings] == ["sign extension"]


def found_in(expected, got):
    values = [np.array(codes, np.int64) for codes in (expected, got)]
    return [*patterns(Compared(expected=values[0], got=values[1], kind=S8, itemsize=1))]


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("first", [0, -1, 5])
def test_one_value_everywhere_is_nothing_written(value, first):
    (finding,) = found_in([[first, 3, -56], [72, -18, 9]], [[value] * 3] * 2)
    assert finding.sentence == f"every value is {value}: nothing was written"


def test_an_array_that_stops_early_is_told_as_such():
    (finding,) = found_in([[0, 3, -56], [72, -18, 9]], [[0, 3, -56], [72, 0, 0]])
    assert finding.sentence.startswith("the last 2 of 6 values are all 0")


@pytest.mark.parametrize("name", ["y.hex", "y.bin"])
def test_an_empty_file_is_nothing_written(add, dump, name):
    (dump / name).write_bytes(b"")
    (verdict,) = judged(add, dump)
    assert [f.sentence for f in verdict.findings] == ["there are no values: nothing was written"]


def test_dimensions_in_another_order_by_the_mapping(add, dump):
    np.save(dump / "columns.npy", add.golden.transpose(0, 2, 1).ravel())
    (verdict,) = judged(add, dump, map_file(dump, "file = 'columns.npy'"))
    assert [f.kind for f in verdict.findings] == ["transposition"]
    assert "shape is [384], wanted [6, 8, 8]" in verdict.problem
    with (dump / "columns.bin").open("wb") as stream:
        write_raw(add.golden.transpose(0, 2, 1), stream)
    mapping = map_file(dump, "file = 'columns.bin'\norder = [0, 2, 1]")
    assert judged(add, dump, mapping)[0].status is Status.EQUAL
    words = [f"{int(c) & 255:02x}" for c in add.golden.transpose(0, 2, 1).ravel()]
    words[1] = "xx"  # [0, 1, 0] of the golden array
    (dump / "columns.hex").write_text("\n".join(words))
    mapping = map_file(dump, "file = 'columns.hex'\norder = [0, 2, 1]")
    assert judged(add, dump, mapping)[0].mismatches[0].index == (0, 1, 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file = 'y.xyz'", "format of y.xyz is unknown"),
        ("file = 'y.vcd'", "a waveform needs signal and clock"),
        ("file = 'y.hex'\nsignal = 'a'", "are of waveforms"),
        ("file = 'y.npy'\nlanes = 4", "has a type of its own"),
        ("file = 'y.raw'\nlanes = 4", "lanes are of hex and waves"),
        ("file = 'y.raw'\nbits = 4", "raw values have 8, 16, 32 or 64 bits"),
        ("file = 'y.hex'\nbyte_order = 'big'", "byte_order is of raw files"),
        ("file = 'y.npy'\nbyte_order = 'big'", "byte_order is of raw files"),
        ("file = 'y.hex'\nedge = 'falling'", "are of waveforms"),
        ("file = 'y.hex'\nlanes = 0", "array.0.lanes"),
        ("file = 'y.hex'\nlane = 4", "array.0.lane"),
        ("file = 'y.hex'\n[[array]]\nop = 'y'\nfile = 'z.hex'", "twice"),
        ("file = ", "not a mapping file"),
    ],
)
def test_mappings_that_cannot_be_are_refused(dump, text, told):
    with pytest.raises(InputError, match=told):
        read_mapping(map_file(dump, text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file = 'y.hex'\narray = 'sum'", "has no array sum"),
        ("file = 'nothing.hex'", "not found"),
        ("file = 'y.hex'\norder = [0, 1]", "does not have the dimensions 0 to 2"),
        ("file = 'y.hex'", "no text of .readmemh: line 1"),
        ("file = 'y.npy'", "not a .npy file"),
    ],
)
def test_files_that_are_not_what_is_said_are_refused(add, dump, text, told):
    (dump / "y.hex").write_text("00\n" * 384 if "order" in text else "what")
    (dump / "y.npy").write_text("what")
    with pytest.raises(InputError, match=told):
        judged(add, dump, map_file(dump, text))


def test_two_files_of_one_array_are_refused_unless_one_is_npy(add, dump):
    (dump / "hex").mkdir()
    for name in ("y.hex", "hex/y.hex"):
        with (dump / name).open("wb") as stream:
            write_hex(add.golden, 8, None, stream)
    with pytest.raises(InputError, match="are both named as"):
        judged(add, dump)
    np.save(dump / "y.npy", add.golden)
    (verdict,) = judged(add, dump)
    assert verdict.place == "y.npy"
    assert judged(add, dump / "y.hex")[0].status is Status.EQUAL


VCD = """$timescale 1ns $end
$scope module tb $end
$var wire 1 c clk $end
$var wire 1 v valid $end
$var wire {width} d data [{high}:0] $end
$upscope $end
$enddefinitions $end
#0
0c
0v
b{x} d
"""


def vcd(words, width):
    """A stream of words taken at rising edges; every third cycle is not valid, and has another one.

    As those of registers, words change right at the edge that takes the one before.
    """
    lines = [VCD.format(width=width, high=width - 1, x="x" * width)]
    time, left = 0, list(words)
    while left:
        valid = time // 10 % 3 != 1
        word = left.pop(0) if valid else "1" * width
        lines.append(f"b{word} d\n{int(valid)}v\n#{time + 5}\n0c\n#{time + 10}\n1c\n")
        time += 10
    return "".join([*lines, f"0v\n#{time + 5}\n0c\n"])


def bits_of(codes, bits, lanes):
    for word in codes.ravel().reshape(-1, lanes):
        yield "".join(f"{int(code) & ((1 << bits) - 1):0{bits}b}" for code in word[::-1])


WAVE = "file = 'run.vcd'\nsignal = 'tb.data'\nclock = 'tb.clk'\nwhen = ['tb.valid']\n"


@pytest.mark.parametrize("lanes", [1, 4])
def test_a_signal_of_a_waveform_at_the_edges_that_count(add, dump, lanes):
    (dump / "run.vcd").write_text(vcd(bits_of(add.golden, 8, lanes), 8 * lanes))
    mapping = map_file(dump, WAVE + f"lanes = {lanes}")
    (verdict,) = judged(add, dump, mapping)
    assert verdict.status is Status.EQUAL
    words = [*bits_of(add.golden, 8, lanes)]
    words[5] = "x" + words[5][1:]
    (dump / "run.vcd").write_text(vcd(words, 8 * lanes))
    (verdict,) = judged(add, dump, mapping)
    assert verdict.unknown == lanes
    assert "(at time" in verdict.mismatches[0].got


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("tb.data", "tb.dat"), "has no signal tb.dat"),
        (("clock = 'tb.clk'", "clock = 'tb.data'"), "clock tb.data is not one bit wide"),
        (("lanes = 1", "lanes = 3\nbits = 8"), "has 8 bits, not 3 lanes of 8"),
    ],
)
def test_signals_that_are_not_there_are_refused(add, dump, change, told):
    (dump / "run.vcd").write_text(vcd(bits_of(add.golden, 8, 1), 8))
    mapping = map_file(dump, (WAVE + "lanes = 1").replace(*change))
    with pytest.raises(InputError, match=told):
        judged(add, dump, mapping)


def test_damaged_waveforms_and_a_missing_reader_are_told(add, dump, monkeypatch):
    (dump / "run.vcd").write_bytes(b"what")
    with pytest.raises(InputError, match="not a VCD or FST file"):
        judged(add, dump, map_file(dump, WAVE))
    monkeypatch.setitem(sys.modules, "pywellen", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'aocq\[waves\]'"):
        judged(add, dump, map_file(dump, WAVE))
