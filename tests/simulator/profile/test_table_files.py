# SPDX-License-Identifier: Apache-2.0
"""A chip's own tables: files that are read, checked and part of a profile's identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plain_profiles import plain

from simulator.errors import InputError
from simulator.numerics.integer_type import IntType
from simulator.profile import NpuProfile, flat_values, load_profile, profile_paths
from simulator.profile.copying import copied
from simulator.profile.table_files import read_entries

CODES = [(7 * code + 3) % 256 - 128 for code in range(256)]
GELU = """
[gelu.table]
file = "rom/gelu.hex"
input_scale = 0.0625
output_scale = 0.03125
output_zero_point = -100
"""


def words(entries: list[int], bits: int = 8) -> str:
    digits = (bits + 3) // 4
    return "".join(f"{entry & ((1 << bits) - 1):0{digits}x}\n" for entry in entries)


def written(folder: Path, tables: str, neighbour: str = "edge_npu_int8") -> Path:
    """Write a shipped profile with tables of files into a folder."""
    text = profile_paths()[neighbour].read_text(encoding="utf-8")
    path = folder / "chip.toml"
    folder.mkdir(exist_ok=True)
    path.write_text(f"{text}\n{tables}", encoding="utf-8")
    return path


def gelu_rom(folder: Path, text: str, tables: str = GELU) -> Path:
    (folder / "rom").mkdir(parents=True, exist_ok=True)
    (folder / "rom" / "gelu.hex").write_text(text, encoding="utf-8")
    return written(folder, tables)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_profile(str(path))
    return str(caught.value)


def test_entries_are_read_from_the_profile_s_folder(tmp_path):
    profile = load_profile(str(gelu_rom(tmp_path, words(CODES))))
    assert profile.gelu.table.entries == CODES


def test_npy_and_hex_are_the_same_profile(tmp_path):
    of_hex = load_profile(str(gelu_rom(tmp_path, words(CODES))))
    np.save(tmp_path / "gelu.npy", np.array(CODES, np.int16))
    tables = GELU.replace("rom/gelu.hex", "gelu.npy")
    assert load_profile(str(written(tmp_path, tables))).sha256() == of_hex.sha256()


def test_one_other_entry_is_another_profile(tmp_path):
    one = load_profile(str(gelu_rom(tmp_path, words(CODES)))).sha256()
    assert load_profile(str(gelu_rom(tmp_path, words([*CODES[:-1], 0])))).sha256() != one
    assert one != load_profile("edge_npu_int8").sha256()


def test_what_readmemh_reads_is_read(tmp_path):
    path = tmp_path / "rom.hex"
    path.write_text("// a ROM\n@2 7_F ff /* two\nlines */ @0 80\n01 // end\n", encoding="utf-8")
    assert read_entries(path, IntType(bits=8)) == [-128, 1, 127, -1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (words(CODES[:-1]), "gelu.table: rom/gelu.hex has 255 entries, wanted 256"),
        (words([*CODES, 1]), "gelu.table: rom/gelu.hex has 257 entries, wanted 256"),
        ("", "gelu.table: rom/gelu.hex has 0 entries, wanted 256"),
        ("00 1ff", "entry 1 is 1ff, of 9 bits, wanted 8"),
        ("00 0x1f", "entry 1: '0x1f' is no hexadecimal word"),
        ("00 xx", "entry 1: 'xx' is no hexadecimal word"),
        ("00 @0 01", "entry 0 is given twice"),
        ("00 @2 01", "entry 1 is missing, and later ones are given"),
    ],
)
def test_wrong_files_are_refused_with_place_wanted_and_found(tmp_path, text, problem):
    found = refusal(gelu_rom(tmp_path, text))
    assert "gelu.table" in found
    assert problem in found


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.array(CODES, np.float32), "holds float32 [256], wanted whole numbers [entries]"),
        (np.array([CODES]), "holds int64 [1, 256], wanted whole numbers [entries]"),
        (np.array([*CODES[:-1], 128]), "entry 255 is 128, wanted s8: -128..127"),
        (np.array([None] * 256, object), "not a .npy file"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, array, problem):
    np.save(tmp_path / "gelu.npy", array, allow_pickle=True)
    assert problem in refusal(written(tmp_path, GELU.replace("rom/gelu.hex", "gelu.npy")))


def test_missing_files_and_keys_are_refused(tmp_path):
    assert "rom/gelu.hex: cannot be read (No such file" in refusal(written(tmp_path, GELU))
    tables = GELU.replace("input_scale = 0.0625\n", "")
    assert "gelu.table.input_scale: missing" in refusal(gelu_rom(tmp_path, words(CODES), tables))
    tables = GELU.replace("-100", "-129")
    assert "gelu.table.output_zero_point = -129: wanted a code of s8" in refusal(
        gelu_rom(tmp_path, words(CODES), tables)
    )
    tables = f"{GELU}entries = [1]\n"
    assert "gelu.table.entries: not a key" in refusal(gelu_rom(tmp_path, words(CODES), tables))


def test_tables_belong_to_algorithms_that_have_them(tmp_path):
    tables = '[softmax.exponential_table]\nfile = "exp.hex"\n'
    assert "softmax.exponential_table: not a key of this table" in refusal(
        written(tmp_path, tables)
    )


@pytest.mark.parametrize(
    ("neighbour", "tables", "count", "bits", "path"),
    [
        ("edge_npu_int8", "[softmax.table]\ninput_scale = 0.05\n", 256, 30, "softmax.table"),
        ("tflm_int16x8", "[softmax.exponential_table]\n", 513, 16, "softmax.exponential_table"),
        ("tflm_int16x8", "[softmax.reciprocal_table]\n", 513, 16, "softmax.reciprocal_table"),
        (
            "tflm_int16x8",
            "[gelu.table]\ninput_scale = 0.05\noutput_scale = 0.05\n",
            513,
            16,
            "gelu.table",
        ),
        (
            "tflm_cmsis_int8",
            "[layernorm.root_table]\ninput_scale = 0.05\noutput_scale = 0.05\n",
            256,
            8,
            "layernorm.root_table",
        ),
    ],
)
def test_every_table_has_its_count_and_width(tmp_path, neighbour, tables, count, bits, path):
    profile = written(tmp_path, f'{tables}file = "rom.hex"\n', neighbour)
    rom = tmp_path / "rom.hex"
    rom.write_text(words(range(1, count + 1), bits), encoding="utf-8")
    loaded = load_profile(str(profile))
    assert flat_values(loaded)[f"{path}.contents"].startswith(f"{count} entries, sha256 ")
    rom.write_text(words(range(1, count), bits), encoding="utf-8")
    assert f"has {count - 1} entries, wanted {count}" in refusal(profile)
    rom.write_text(f"{1 << bits:x}", encoding="utf-8")
    assert f"of {bits + 1} bits, wanted {bits}" in refusal(profile)


EXP_TABLE = ("edge_npu_int8", "softmax.table", "input_scale = 0.05", 30)
EXPONENTIALS = ("tflm_int16x8", "softmax.exponential_table", "", 16)
RECIPROCALS = ("tflm_int16x8", "softmax.reciprocal_table", "", 16)


@pytest.mark.parametrize(
    ("chip", "entries", "problem"),
    [
        (EXP_TABLE, [0] + [1] * 255, "entry 0 is 0, wanted at least 1: an exponential of the"),
        (EXP_TABLE, [1] + [0] * 255, None),
        (EXPONENTIALS, [-5] + [1] * 512, "entry 0 is -5, wanted s16: 0..32767"),
        (EXPONENTIALS, [1] * 511 + [0, 1], "entry 511 is 0, wanted at least 1"),
        (EXPONENTIALS, [1] * 511 + [1, 0], "entry 512 is 0, wanted at least 1"),
        (EXPONENTIALS, [0] * 511 + [1, 1], None),
        (RECIPROCALS, [1] * 512 + [-1], "entry 512 is -1, wanted s16: 0..32767"),
        (RECIPROCALS, [0] * 513, None),
    ],
)
def test_exponentials_are_those_that_a_softmax_can_use(tmp_path, chip, entries, problem):
    neighbour, name, keys, bits = chip
    profile = written(tmp_path, f'[{name}]\nfile = "rom.hex"\n{keys}\n', neighbour)
    (tmp_path / "rom.hex").write_text(words(entries, bits), encoding="utf-8")
    if problem is None:
        load_profile(str(profile))
    else:
        assert f"{name}: rom.hex: {problem}" in refusal(profile)


@pytest.mark.parametrize("scale", ["1e-40", "1e39", "nan", "inf", "0.0"])
@pytest.mark.parametrize("key", ["input_scale = 0.0625", "output_scale = 0.03125"])
def test_scales_are_those_that_a_tensor_can_have(tmp_path, key, scale):
    name = key.partition(" ")[0]
    tables = GELU.replace(key, f"{name} = {scale}")
    assert f"gelu.table.{name}" in refusal(gelu_rom(tmp_path, words(CODES), tables))


def test_a_dump_is_the_same_profile(tmp_path):
    profile = load_profile(str(gelu_rom(tmp_path, words(CODES))))
    again = NpuProfile.model_validate(profile.model_dump(mode="json"))
    assert again.sha256() == profile.sha256()


def test_a_copy_names_the_files_from_its_own_place(tmp_path):
    path = gelu_rom(tmp_path / "old", words(CODES))
    files = {("gelu", "table"): ("rom/gelu.hex", "../old/rom/gelu.hex")}
    text = copied(path.read_text(encoding="utf-8"), "mine", "chip", files)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine.toml").write_text(text, encoding="utf-8")
    mine = load_profile(str(tmp_path / "new" / "mine.toml"))
    assert mine.gelu.table.entries == CODES


def test_sources_can_speak_of_a_table(tmp_path):
    profile = gelu_rom(tmp_path, words(CODES))
    text = profile.read_text(encoding="utf-8")
    text = text.replace("[source] ", '[source]\n"gelu.table" = "doc: the ROM" ')
    profile.write_text(text, encoding="utf-8")
    assert load_profile(str(profile)).confidence_of("gelu.table.contents") == "doc"


def test_tables_that_are_not_there_change_no_identity():
    values = plain()
    del values["energy"], values["compute"]["float16"], values["compute"]["host"]
    values["source"] = {"default": values["source"]["default"]}
    # The hash of this profile before any of these tables could be stated.
    assert NpuProfile.model_validate(values).sha256().startswith("ae7de4110170")
