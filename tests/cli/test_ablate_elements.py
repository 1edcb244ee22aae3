# SPDX-License-Identifier: Apache-2.0
"""``aocq ablate --grid elements``: its rows and files, what it takes up again, what it refuses."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import Demo, Finished

from aocq.records.run_folder import load_run
from reports.element_table import FILES
from simulator.profile import load_profile

Run = Callable[..., Finished]
SMALL = ("--limit", 10, "--batch", 10, "--calib", 8, "--preset", "fast")
PROFILE = "edge_npu_w4a4_dynamic"
# One of the recipe, one of the chip in another's place, one of the convention.
ELEMENTS = "heads, probabilities8,ends"
ROWS = [
    *(("full", ""), ("bare", ""), ("instead", "probabilities8"), ("alone", "probabilities8")),
    *(("without", "heads"), ("alone", "heads"), ("without", "ends")),
]


def job(demo: Demo, *more: object, bits: str = "4/4", profile: str = PROFILE) -> tuple[object, ...]:
    data = demo.folder / "data"
    of = ("ablate", "vit_nano_digits", "--data", data / "val", "--calib-data", data / "calib")
    return (*of, *SMALL, "--grid", "elements", "--bits", bits, "--profile", profile, *more)


def lines_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "elements.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Ablation(NamedTuple):
    """An ablation of three elements, and what the command said."""

    folder: Path
    process: Finished


@pytest.fixture(scope="module")
def ablation(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    folder = tmp_path_factory.mktemp("elements")
    return Ablation(folder, warm(*job(demo), "--elements", ELEMENTS, "--out", folder))


def test_rows_are_of_the_elements_that_are_asked_for(ablation: Ablation) -> None:
    lines = lines_of(ablation.folder)
    assert [(line["row"], line["element"]) for line in lines] == ROWS
    for line in lines:
        result, _ = load_run(ablation.folder / line["run"])
        assert float(line["top1"]) == result.accuracy.score("integer")
        assert float(line["sqnr_db"]) == result.accuracy.logit_sqnr_db.integer_float
        assert float(line["cycles"]) == result.cycles.total
        assert line["note"] == ""
    by_row = {(line["row"], line["element"]): line for line in lines}
    full, without = by_row["full", ""], by_row["without", "heads"]
    gain = float(full["sqnr_db"]) - float(without["sqnr_db"])
    assert float(without["sqnr_db_difference"]) == pytest.approx(gain)
    # Rotations of the full recipe are additions; levels of half octaves have 8 bits, as the other
    # softmax's probabilities do, and take a second pass.
    assert float(full["rotation_additions"]) > float(by_row["bare", ""]["rotation_additions"]) == 0
    narrow = {key: float(line["narrow_macs"]) for key, line in by_row.items()}
    assert narrow["instead", "probabilities8"] == narrow["full", ""] > narrow["bare", ""]


def test_every_run_is_of_its_recipe_and_chip(ablation: Ablation) -> None:
    runs = {
        (line["row"], line["element"]): load_run(ablation.folder / line["run"])[0]
        for line in lines_of(ablation.folder)
    }
    recipes = {key: found.method.recipe for key, found in runs.items()}
    heads = {key: recipe["aocq"]["rotate_heads"] for key, recipe in recipes.items()}
    assert [heads[key] for key in ROWS] == [True, False, True, False, False, True, True]
    ends = [recipes[key]["end_bits"] for key in ROWS]
    assert ends == [8, 8, 8, 8, 8, 8, None]
    chips = [runs[key].profile.name.removeprefix(PROFILE) for key in ROWS]
    assert chips == ["", "_softmax4", "_softmax8", "_softmax8", "", "_softmax4", ""]


def test_varied_profiles_are_files_that_other_commands_take(warm: Run, ablation: Ablation) -> None:
    files = sorted((ablation.folder / "profiles").iterdir())
    assert [file.name for file in files] == [
        f"{PROFILE}_softmax4.toml",
        f"{PROFILE}_softmax8.toml",
    ]
    for file in files:
        assert load_profile(str(file)).softmax.algorithm == "exp_table"
        assert f"{PROFILE} with other softmax" in warm("profiles", "show", file).out


def test_all_forms_are_published_beside_the_table(ablation: Ablation) -> None:
    for name in (*FILES, "ablate.md", "ablate.csv", "ablate.json", "manifest.json"):
        assert (ablation.folder / name).is_file()
    told = (ablation.folder / "elements.md").read_text("utf-8")
    assert told.startswith(f"# Elements of W4A4 on vit_nano_digits for {PROFILE}\n")
    assert f"gains and costs: {ablation.folder / 'elements.md'}\n" in ablation.process.err


def test_finished_rows_are_taken_up_again(
    warm: Run, demo: Demo, ablation: Ablation, tmp_path: Path
) -> None:
    """As if killed before the last row; the files say the same as before."""
    folder = tmp_path / "again"
    shutil.copytree(ablation.folder, folder)
    shutil.rmtree(folder / lines_of(folder)[-1]["run"])
    for name in FILES:
        (folder / name).unlink()
    # The profiles' paths are other ones than before: rows are known by what is in the files.
    done = warm(*job(demo), "--elements", ELEMENTS, "--out", folder)
    assert done.err.count("finished before") == len(ROWS) - 1
    assert lines_of(folder) == lines_of(ablation.folder)


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--elements", "heads,head"), 2, "no element 'head' of this profile; choose from softmax"),
        (("--elements", ""), 2, "no element '' of this profile"),
        (("--bits", "4/4,8/8"), 2, "--grid elements: one pair of --bits"),
        (("--method", "base_ptq"), 2, "and --method aocq"),
        (("--grid", "one", "--elements", "heads"), 2, "only with --grid elements"),
        (("--grid", "full", "--hadamard-block", 64), 2, "only with --grid elements"),
        (("--hadamard-block", 2048), 2, "hadamard.largest_order is 1024"),
        (
            ("--profile", "edge_npu_int8", "--bits", "8/8", "--hadamard-block", 64),
            *(2, "profile edge_npu_int8: has no table [hadamard]"),
        ),
        # Not a table of rows of which none could be run.
        (("--bits", "8/8"), 3, "activation.operand_bits = 4, the model has 8"),
        (("--end-bits", 6), 3, "weight.bits = [4, 8] has no 6"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    warm: Run, demo: Demo, tmp_path: Path, more: tuple[object, ...], code: int, said: str
) -> None:
    done = warm(*job(demo), *more, "--out", tmp_path / "out", code=code)
    assert said in " ".join(done.err.replace("│", " ").split())
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_folder_in_the_place_of_a_file_is_refused_before_the_first_row(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    (tmp_path / "elements.html").mkdir()
    done = warm(*job(demo), "--elements", "heads", "--out", tmp_path, code=3)
    assert "elements.html: is a folder, where a file is to be written" in done.err
