# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest

from simulator.errors import InputError
from simulator.profile import flat_values, load_profile, profile_paths

SHIPPED = sorted(profile_paths())


def text_with(changes):
    """Return a shipped profile's text with other values, or no value, of the first such keys."""
    text = profile_paths()["edge_npu_int8"].read_text(encoding="utf-8")
    for key, value in changes.items():
        pattern = rf"^{key} = [^#\n]*"
        assert re.search(pattern, text, re.MULTILINE), key
        line = "" if value is None else f"{key} = {value}"
        text = re.sub(pattern, line, text, count=1, flags=re.MULTILINE)
    return text


@pytest.fixture
def load_changed(tmp_path):
    """Load a shipped profile with other values of some keys, or with other text appended."""

    def load(changes=None, appended=""):
        path = tmp_path / "chip.toml"
        path.write_text(text_with(changes or {}) + appended, encoding="utf-8")
        return load_profile(str(path))

    return load


@pytest.fixture
def problems_of(load_changed, tmp_path):
    """Return the lines of the error that loading gives."""

    def problems(changes=None, appended=""):
        with pytest.raises(InputError) as caught:
            load_changed(changes, appended)
        first, *lines = str(caught.value).splitlines()
        assert first == f"{tmp_path / 'chip.toml'}: {len(lines)} problem(s):"
        return [line.removeprefix("  ") for line in lines]

    return problems


# --- identity -------------------------------------------------------------------------------------


def test_comments_and_layout_do_not_change_the_identity(load_changed):
    plain = load_profile("edge_npu_int8")
    text = text_with({})
    bare = re.sub(r" *#.*", "", text)
    assert bare != text
    assert load_changed().sha256() == plain.sha256()
    assert load_changed(appended="# a comment\n\n").sha256() == plain.sha256()
    assert load_changed({"bits": "8   # another comment"}).sha256() == plain.sha256()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", '"other"'),
        ("multiplier_bits", "15"),
        ("rounding", '"floor"'),
        ("bias", '"after_last_block"'),
        ("clock_mhz", "501"),
        ("lanes", "17"),
        ("sram_bytes", "1"),
        ("levels", '[ { group = "all", bits = 31, overflow = "wrap" } ]'),
        ("levels", '[ { group = "all", bits = 32, overflow = "saturate" } ]'),
        ("default", '"measured"'),
    ],
)
def test_every_value_changes_the_identity(load_changed, key, value):
    assert load_changed({key: value}).sha256() != load_profile("edge_npu_int8").sha256()


# --- mistakes -------------------------------------------------------------------------------------


def test_all_mistakes_are_reported_at_once_with_their_paths(problems_of):
    found = problems_of(
        {
            "residual_bits": "17",
            "granularity": '"per_row"',
            "levels": '[ { group = "all", bits = 70, overflow = "wrap" } ]',
            "multiplier_bits": '"31"',
            "rounding": '"half"',
            "clock_mhz": "-1",
            "sram_bytes": "0",
        }
    )
    paths = [
        "activation.residual_bits = 17: ",
        "weight.granularity = 'per_row': ",
        "accumulator.levels[0].bits = 70: ",
        "rescale.multiplier_bits = '31': ",
        "rescale.rounding = 'half': ",
        "compute.clock_mhz = -1: ",
        "memory.sram_bytes = 0: ",
    ]
    assert len(found) == len(paths)
    for line, path in zip(found, paths, strict=True):
        assert line.startswith(path)
        assert "nput should be" in line


def test_unknown_keys_suggest_the_nearest(problems_of):
    assert problems_of(appended="[memroy]\nsram_bytes = 3\n") == [
        "memroy: unknown key (did you mean memory?)"
    ]
    engine = "{ kind = 'systolic', rows = 1, colums = 1, dataflow = 'weight_stationary', "
    assert problems_of({"engine": engine + "overlap = 'none' }"}) == [
        "compute.engine.columns: missing",
        "compute.engine.colums: unknown key (did you mean columns?)",
    ]
    assert problems_of(appended="[zzz]\n") == ["zzz: unknown key"]


def test_missing_keys_are_named(problems_of):
    assert problems_of({"lanes": None, "bias": None, "cycles_per_element": "{ softmax = 3 }"}) == [
        "accumulator.bias: missing",
        "compute.vector.lanes: missing",
        "compute.vector.cycles_per_element.layernorm: missing",
        "compute.vector.cycles_per_element.lookup: missing",
        "compute.vector.cycles_per_element.add: missing",
        "compute.vector.cycles_per_element.rescale: missing",
        "compute.vector.cycles_per_element.mean: missing",
        "compute.vector.cycles_per_element.layout: missing",
        "compute.vector.cycles_per_element.float: missing",
    ]


def test_an_empty_file_lacks_everything(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(InputError) as caught:
        load_profile(str(tmp_path / "empty.toml"))
    for key in ("name", "accumulator", "compute", "source"):
        assert f"\n  {key}: missing" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": '"Edge NPU"'}, "name = 'Edge NPU'"),
        ({"format": "2"}, "format = 2"),
        ({"bits": "2"}, "activation.bits = 2"),
        ({"algorithm": '"exact"'}, "softmax.algorithm = 'exact'"),
        ({"table_bits": "24", "reciprocal_bits": "31"}, "reciprocal_bits = 31: must be at least"),
        ({"clock_mhz": "nan"}, "compute.clock_mhz = nan"),
        ({"clock_mhz": "inf"}, "compute.clock_mhz = inf"),
        ({"engine": '{ kind = "analog" }'}, "compute.engine"),
        ({"default": "3"}, "source.default = 3"),
        ({"default": '"x"\nmemory.latency = "datasheet"'}, "source.memory"),
    ],
)
def test_values_out_of_range_are_named(problems_of, changes, problem):
    (found,) = problems_of(changes)
    assert problem in found


# --- files ----------------------------------------------------------------------------------------


def test_unknown_names_list_the_nearest():
    with pytest.raises(InputError, match="profile edge_npu: neither a shipped profile") as caught:
        load_profile("edge_npu")
    assert "nearest: edge_npu_a4" in str(caught.value)
    with pytest.raises(InputError) as caught:
        load_profile("zzzz")
    assert all(name in str(caught.value) for name in SHIPPED)


def test_a_folder_is_no_profile(tmp_path):
    with pytest.raises(InputError, match="is a folder; name a TOML file"):
        load_profile(str(tmp_path))


@pytest.mark.parametrize("content", [b"name = ", b"[[", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_files_that_are_not_toml_are_named(tmp_path, content):
    path = tmp_path / "chip.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not TOML") as caught:
        load_profile(str(path))
    assert str(path) in str(caught.value)


def test_a_width_of_words_that_is_not_stated_leaves_hash_and_values_as_they_were(load_changed):
    plain = load_changed()
    assert plain.memory.word_bits is None
    assert "memory.word_bits" not in flat_values(plain)
    rate = "8\nword_bits = 64"
    wide = load_changed({"dram_bytes_per_cycle": rate})
    assert wide.memory.word_bits == 64
    assert flat_values(wide) == {**flat_values(plain), "memory.word_bits": 64}
    assert wide.sha256() != plain.sha256()


def test_a_width_of_words_has_bounds(load_changed):
    for value in ("0", "65537", '"64"'):
        with pytest.raises(InputError, match=r"memory\.word_bits"):
            load_changed({"dram_bytes_per_cycle": f"8\nword_bits = {value}"})
