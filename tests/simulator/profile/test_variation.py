# SPDX-License-Identifier: Apache-2.0
"""Chips like another with some values changed, as plans of sweeps write these."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.errors import InputError
from simulator.profile import NpuProfile, load_profile
from simulator.profile.variation import UnknownKeyError, toml_text, varied

BASE = load_profile("edge_npu_int8")


def levels(profile: NpuProfile, kind: str = "linear") -> list[tuple[int, int, str]]:
    found: Any = profile.accumulator_of(kind)  # type: ignore[arg-type]
    return [(each.group, each.bits, each.overflow) for each in found.levels]


def test_a_width_of_the_accumulator_is_that_of_its_outermost_level() -> None:
    inner = [{"group": 16, "bits": 16, "overflow": "wrap"}]
    two = [*inner, {"group": "all", "bits": 32, "overflow": "wrap"}]
    nested = varied(BASE, "nested", {"accumulator.levels": two})
    narrow = varied(nested, "narrow", {"accumulator.bits": 20, "accumulator.overflow": "clip"})
    assert levels(narrow) == [(16, 16, "wrap"), (0, 20, "saturate")]
    assert narrow.source["accumulator.levels"] == "assumed: varied from nested"


def test_it_is_that_of_every_kind_of_op() -> None:
    own = {"levels": [{"group": "all", "bits": 24, "overflow": "wrap"}]}
    base = varied(BASE, "own", {"ops.matmul": {"accumulator": own}})
    narrow = varied(base, "narrow", {"accumulator.bits": 18})
    assert [levels(narrow, kind)[0][1] for kind in ("linear", "matmul")] == [18, 18]


def test_a_vendor_s_word_decides_all_that_it_means() -> None:
    found = varied(BASE, "tfl", {"rescale.rounding": "tfl"}).rescale
    assert (found.rounding, found.double_rounding) == ("half_up", "symmetric")


def test_none_takes_a_value_away() -> None:
    assert varied(BASE, "bare", {"energy": None}).energy is None


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("acumulator.bits", r"acumulator: unknown key \(did you mean accumulator\?\)"),
        ("compute.engine.row", r"did you mean rows\?\); near compute.engine.row: compute.engine.r"),
        ("bits", "near bits: activation.bits"),
        ("compute.clock_mhz.value", "compute.clock_mhz is no table"),
    ],
)
def test_a_key_that_profiles_have_not_is_refused_with_those_near_it(key: str, told: str) -> None:
    with pytest.raises(UnknownKeyError, match=told):
        varied(BASE, "chip", {key: 8})


def test_keys_that_are_right_have_none_near_them() -> None:
    changes = {"acumulator.bits": 20, "accumulator.overflow": "wrap", "memory.sram_bytes": 1024}
    with pytest.raises(UnknownKeyError) as refused:
        varied(BASE, "edge_npu_int8_bits20", changes)
    told = str(refused.value)
    assert told.startswith("profile edge_npu_int8: acumulator: unknown key")
    assert "; near acumulator.bits: accumulator.bits, " in told
    assert told.count("; near ") == 1


def test_a_value_that_no_chip_has_is_another_mistake() -> None:
    with pytest.raises(InputError, match=r"accumulator.levels\[0\].bits = 3") as refused:
        varied(BASE, "chip", {"accumulator.bits": 3})
    assert not isinstance(refused.value, UnknownKeyError)


def test_the_file_of_a_varied_profile_is_that_profile(tmp_path: Any) -> None:
    chip = varied(BASE, "chip", {"accumulator.bits": 18, "memory.sram_bytes": 1024})
    (tmp_path / "chip.toml").write_text(toml_text(chip), "utf-8")
    assert load_profile(str(tmp_path / "chip.toml")).sha256() == chip.sha256()
