# SPDX-License-Identifier: Apache-2.0
"""Plans: read strictly, their paths beside the file, and the designs that they multiply to."""

from __future__ import annotations

from pathlib import Path

import pytest

from aocq.sweeps.chips import varied_name
from aocq.sweeps.designs import Design, read_designs
from aocq.sweeps.runs import planned_runs
from simulator.errors import InputError
from simulator.profile import load_profile
from simulator.profile.variation import toml_text, varied

NETWORK = '[[network]]\nname = "vit_nano_digits"\n'
DATA = '[data.digits]\nevaluate = "val"\n'


def plan(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, "utf-8")
    return path


def designs(folder: Path, text: str) -> list[Design]:
    """The designs of a plan beside which the files that plans of these tests name lie."""
    for name in ("val", "canvases"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "deit.pt").touch()
    return read_designs(plan(folder, text), folder / "out", ("aocq", "sweep"))[1]


def test_what_a_plan_leaves_out_has_its_default(tmp_path: Path) -> None:
    (design,) = designs(tmp_path, NETWORK + DATA)
    request = design.request
    assert design.name == "vit_nano_digits aocq w8a8 edge_npu_int8"
    assert design.variant == {"profile": "edge_npu_int8"}
    assert request.evaluation.folder == request.calibration.folder == tmp_path / "val"
    assert (request.evaluation.limit, request.calibration.images) == (None, 250)


def test_everything_is_multiplied_in_the_order_of_the_plan(tmp_path: Path) -> None:
    found = designs(
        tmp_path,
        NETWORK
        + '[[network]]\nname = "deit_tiny_patch16_224"\nweights = "deit.pt"\n'
        + DATA
        + """
[sweep]
methods = ["base_ptq", "aocq"]
recipes = ["w8a8", "W4A8e8", { name = "near", weight_bits = 4, aocq = { rounding = "nearest" } }]
profiles = ["edge_npu_int8", "narrow_acc_20"]
seed = 7
[sweep.keys]
"accumulator.bits" = [16, 20]
""",
    )
    assert len(found) == 2 * 2 * 3 * 2 * 2
    assert len({each.name for each in found}) == len(found)
    assert found[1].name == "vit_nano_digits base_ptq w8a8 edge_npu_int8 accumulator.bits=20"
    assert found[1].variant == {
        "recipe": "",
        "profile": "edge_npu_int8",
        "accumulator.bits": "20",
    }
    assert found[-1].name == "deit_tiny_patch16_224 aocq near narrow_acc_20 accumulator.bits=20"
    assert found[-1].request.model.weights == tmp_path / "deit.pt"
    recipes = [each.request.calibration.recipe for each in found[:12:4]]
    assert [(r.weight_bits, r.end_bits, r.aocq.rounding, r.seed) for r in recipes] == [
        (8, None, "gptq", 7),
        (4, 8, "gptq", 7),
        (4, None, "nearest", 7),
    ]
    chip = found[0].chip
    assert chip.profile is not None
    assert chip.profile.accumulator.levels[-1].bits == 16
    assert chip.path == str(tmp_path / "out" / "profiles" / "edge_npu_int8_bits16.toml")


def test_recipes_are_files_and_tables_with_bits_of_single_layers(tmp_path: Path) -> None:
    (tmp_path / "mixed.toml").write_text(
        "format = 1\n[recipe]\nweight_bits = 4\n[layers]\nhead = { w = 8 }\n", "utf-8"
    )
    inline = "{ weight_bits = 4, layers = { head = { w = 8 } } }"
    found = designs(
        tmp_path, f'{NETWORK}{DATA}[sweep]\nseed = 3\nrecipes = ["mixed.toml", {inline}]\n'
    )
    file, table = [each.request.calibration.recipe for each in found]
    assert file == table
    assert (file.weight_bits, file.seed, file.layers["head"].w) == (4, 3, 8)
    assert [each.variant["recipe"] for each in found] == ["mixed", "weight_bits=4 layers=1"]


def test_networks_have_their_own_images(tmp_path: Path) -> None:
    more = '[data.canvases]\nevaluate = "canvases"\nimages = 5\ncalibrate = "/"\n'
    found = designs(tmp_path, NETWORK + 'data = ["canvases"]\n' + DATA + more)
    (design,) = found
    assert design.variant["set"] == "canvases"
    assert design.request.evaluation.folder == tmp_path / "canvases"
    assert design.request.calibration.folder == Path("/")
    assert design.request.evaluation.limit == 5


def test_a_chip_that_there_cannot_be_is_a_design_with_its_reason(tmp_path: Path) -> None:
    keys = '[sweep.keys]\n"accumulator.bits" = [3, 20]\n'
    impossible, possible = designs(tmp_path, NETWORK + DATA + keys)
    assert impossible.chip.profile is None
    assert "accumulator.levels[0].bits = 3" in impossible.chip.reason
    assert possible.chip.profile is not None


def test_widths_that_a_chip_lacks_make_a_design_without_a_run(tmp_path: Path) -> None:
    layers = '{ name = "five", layers = { "blocks.*.mlp.fc2" = { w = 5 } } }'
    recipes = f'recipes = ["w5a8", {layers}, "w8a8"]\nprofiles = ["edge_npu_int8"]\n'
    *impossible, possible = planned_runs(designs(tmp_path, f"{NETWORK}{DATA}[sweep]\n{recipes}"))
    assert [run.unit for run in impossible] == [None, None]
    whole, single = (run.design.chip.reason for run in impossible)
    assert whole.startswith("profile edge_npu_int8: weight.bits = [8, 4, 3] has no 5 ")
    assert 'weight.bits = [8, 4, 3], layers."blocks.*.mlp.fc2".w is 5 (choose 8 or 4' in single
    assert possible.unit is not None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"network: missing"),
        (NETWORK, r"data: missing; name images in a table \[data.NAME\], or set sweep.costs_only"),
        (NETWORK + DATA + "[swep]\n", r"swep: unknown key \(did you mean sweep\?\)"),
        (
            NETWORK + 'weigths = "x"\n' + DATA,
            r"network\[0\].weigths: .* \(did you mean weights\?\)",
        ),
        (
            NETWORK + DATA + "image = 3\n",
            r"data.digits.image: unknown key \(did you mean images\?\)",
        ),
        (NETWORK + DATA + "images = 0\n", "data.digits.images = 0: input should be greater than"),
        (
            NETWORK + 'data = ["digit"]\n' + DATA,
            r"no table \[data.digit\] \(did you mean digits\?\)",
        ),
        (NETWORK + 'task = "detecting"\n' + DATA, r"no such task \(did you mean detection\?\)"),
        (NETWORK + NETWORK + DATA, r"network\[1\]: is there twice"),
        (NETWORK + DATA + '[sweep]\nmethods = ["ptq"]\n', r"methods\[0\] = 'ptq': no such method"),
        (
            NETWORK + DATA + "[sweep]\nprofiles = []\n",
            "sweep.profiles: list should have at least 1",
        ),
        (NETWORK + DATA + '[sweep]\nseed = "1"\n', "sweep.seed = '1': input should be a valid int"),
        (NETWORK + DATA + "[sweep.keys]\nx = [1, 1]\n", 'sweep.keys."x": 1 is there twice'),
        (NETWORK + '[sweep]\ncosts_only = true\nmethods = ["aocq"]', "sweep.methods: no use with"),
        ("network = 3", "network = 3: input should be a valid list"),
        ("[[network]", "not TOML"),
    ],
)
def test_mistakes_of_plans_are_told_with_their_places(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as refused:
        designs(tmp_path, text)
    assert str(tmp_path / "plan.toml") in str(refused.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 problem\(s\)"):
        designs(tmp_path, '[[network]]\nname = ""\n[data.a]\n')


EVERY_KIND = """
[[network]]
name = "vit_nano_digits"
weights = "none.pt"
clases = 10
[data.digits]
evaluate = "nowhere"
[sweep]
recipes = ["w8a8", "w9a8", "none.toml"]
profiles = ["edge_npu_int8", "no_such_chip"]
[sweep.keys]
"acumulator.bits" = [16, 20]
"""


def test_mistakes_of_every_kind_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        designs(tmp_path, EVERY_KIND)
    head, *lines = str(refused.value).splitlines()
    assert head == f"{tmp_path / 'plan.toml'}: 7 problem(s):"
    for place, line in zip(
        (
            "network[0].clases: unknown key (did you mean classes?)",
            "sweep.recipes[1]: 'w9a8' is no recipe",
            f"sweep.recipes[2]: {tmp_path / 'none.toml'}: not found",
            "sweep.keys: profile edge_npu_int8: acumulator: unknown key",
            "sweep.profiles[1]: ",
            f"network[0].weights: {tmp_path / 'none.pt'}: not found",
            f"data.digits.evaluate: {tmp_path / 'nowhere'}: not found",
        ),
        lines,
        strict=True,
    ):
        assert line.startswith(f"  {place}")


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ('recipes = ["w9a8"]', "'w9a8' is no recipe; wanted w4a8"),
        ("recipes = [{ weight_bitz = 4 }]", "sweep.recipes\\[0\\]: weight_bitz"),
        ("recipes = [{ weight_bits = 40 }]", "sweep.recipes\\[0\\]: weight_bits"),
        ('profiles = ["edge_npu"]', "edge_npu"),
        ('keys = { "compute.engine.row" = [8] }', r"sweep.keys: .*did you mean rows\?"),
    ],
)
def test_mistakes_of_designs_are_told(tmp_path: Path, sweep: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        designs(tmp_path, f"{NETWORK}{DATA}[sweep]\n{sweep}\n")


def test_a_plan_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.toml: not found; aocq sweep wants a plan"):
        read_designs(tmp_path / "none.toml", tmp_path / "out", ())


def test_two_varied_chips_of_one_name_are_refused(tmp_path: Path) -> None:
    base = load_profile("edge_npu_int8")
    for folder, rows in (("one", 4), ("two", 32)):
        (tmp_path / folder).mkdir()
        chip = varied(base, "chip", {"compute.engine.rows": rows})
        (tmp_path / folder / "chip.toml").write_text(toml_text(chip), "utf-8")
    sweep = '[sweep]\nprofiles = ["one/chip.toml", "two/chip.toml"]\n'
    assert len(designs(tmp_path, NETWORK + DATA + sweep)) == 2
    keys = '[sweep.keys]\n"compute.engine.columns" = [8]\n'
    with pytest.raises(
        InputError, match=r"chip_columns8\.toml; give .*two/chip\.toml a name of its"
    ):
        designs(tmp_path, NETWORK + DATA + sweep + keys)


def test_names_of_varied_profiles_are_names_and_differ() -> None:
    assert varied_name("edge", {"accumulator.bits": 16, "x.rounding": "half_up"}) == (
        "edge_bits16_roundinghalf_up"
    )
    long = [{"a.very_long_name_of_a_key": number, "b" * 90: 2} for number in range(3)]
    names = {varied_name("edge", changes) for changes in long}
    assert len(names) == 3
    assert max(map(len, names)) <= 100
