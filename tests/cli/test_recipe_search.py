# SPDX-License-Identifier: Apache-2.0
"""``aocq sensitivity`` and ``aocq search`` on the demo: files, recipes, resumption, refusals."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Demo, Finished, digests

from aocq.recipes.recipe import Recipe
from aocq.recipes.recipe_file import read_recipe
from aocq.records.run_folder import load_record

Run = Callable[..., Finished]
LIMIT = 40
FIGURES = ("png", "svg")


def sources(demo: Demo) -> tuple[str | Path, ...]:
    data = demo.folder / "data"
    return ("--data", data / "val", "--calib-data", data / "calib")


@pytest.fixture(scope="module")
def ranked(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's sensitivity on a chip with many widths, three steps emulated."""
    out = tmp_path_factory.mktemp("sensitivity")
    done = warm(
        *("sensitivity", demo.folder, *sources(demo), "--limit", LIMIT, "--confirm", 3),
        *("--widths", "3,4,5,8", "--out", out),
        *("--profile", "edge_npu_packed"),
    )
    done.check(0)
    (out / "stdout.txt").write_text(done.out, encoding="utf-8")
    (out / "stderr.txt").write_text(done.err, encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def searched(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search from the demo's recipe, three candidates."""
    out = tmp_path_factory.mktemp("search")
    done = warm(*search_line(demo, out))
    done.check(0)
    (out / "stdout.txt").write_text(done.out, encoding="utf-8")
    (out / "stderr.txt").write_text(done.err, encoding="utf-8")
    return out


def search_line(demo: Demo, out: Path, *more: str | Path) -> tuple[str | Path, ...]:
    return (
        *("search", demo.folder, *sources(demo), "--limit", str(LIMIT)),
        *("--evaluations", "3", "--along", "1", "--confirm", "1", "--confirm-limit", "20"),
        *("--budget", "weight_bytes=75000,latency_ms=1", "--out", out, *more),
    )


def test_a_sensitivity_has_a_row_for_every_step_up_and_down(ranked: Path) -> None:
    found = json.loads((ranked / "sensitivity.json").read_text(encoding="utf-8"))
    steps = [(row["op"], row["other"]) for row in found["rows"]]
    assert len(set(steps)) == len(steps) == 20  # ten layers, from 4 bits to 3 and to 5
    assert {row["other"] for row in found["rows"]} == {3, 5}
    worth = [-row["noise"] / abs(row["added"]["weight_bytes"]) for row in found["rows"]]
    assert worth == sorted(worth, reverse=True)
    assert all(
        (row["added"]["weight_bytes"] > 0) == (row["other"] > row["bits"]) for row in found["rows"]
    )
    assert found["start"]["images"] == LIMIT


def test_the_first_steps_are_emulated_in_runs_of_their_own(ranked: Path) -> None:
    found = json.loads((ranked / "sensitivity.json").read_text(encoding="utf-8"))
    for row in found["rows"][:3]:
        result = load_record(ranked / row["run"])
        assert result.accuracy.logit_sqnr_db.integer_float == row["measured"]["sqnr_db"]
        added = result.memory.weight_bytes - found["costs"]["weight_bytes"]
        assert added == row["added"]["weight_bytes"]
        layers = result.method.recipe["layers"]
        assert layers == {row["op"]: {"w": row["other"]}}
    assert {row["measured"] for row in found["rows"][3:]} == {None}
    assert -1 <= found["rank_correlation"] <= 1


def test_a_sensitivity_comes_in_all_forms(ranked: Path) -> None:
    text = (ranked / "sensitivity.md").read_text(encoding="utf-8")
    out = (ranked / "stdout.txt").read_text(encoding="utf-8")
    for said in (
        "3 of 20 steps were emulated; rank correlation",
        "Of fewer than 10 steps it means little.",
        "Shares of rounding in the noise",
    ):
        assert said in text
        assert said in out
    rows = list(csv.DictReader(io.StringIO((ranked / "sensitivity.csv").read_text("utf-8"))))
    assert len(rows) == 20
    assert rows[0]["measured_sqnr_db"]
    assert not rows[19]["measured_sqnr_db"]
    for ending in FIGURES:
        assert (ranked / f"sensitivity.{ending}").stat().st_size > 1000


def test_the_proposed_recipe_is_one_that_verify_takes(
    ranked: Path, warm: Run, demo: Demo, tmp_path: Path
) -> None:
    recipe = read_recipe(ranked / "recipe.toml").on(Recipe())
    assert recipe.layers
    lines = (ranked / "recipe.toml").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith(f"from the run in folder {demo.folder.name}.")
    assert lines[6].endswith("--recipe recipe.toml --profile edge_npu_packed")
    done = warm(
        *("verify", "vit_nano_digits", *sources(demo), "--recipe", ranked / "recipe.toml"),
        *("--profile", "edge_npu_packed", "--limit", 20, "--out", tmp_path / "run"),
    )
    done.check(0)
    found = json.loads((ranked / "sensitivity.json").read_text(encoding="utf-8"))
    result = load_record(tmp_path / "run")
    assert result.method.recipe["layers"] == recipe.layers.plain()
    assert result.memory.weight_bytes <= 1.11 * found["costs"]["weight_bytes"]


def test_candidates_are_within_the_budget_or_marked(searched: Path) -> None:
    found = json.loads((searched / "search.json").read_text(encoding="utf-8"))
    assert [row["number"] for row in found["rows"]] == [0, 1, 2, 3]
    for row in found["rows"][1:]:
        result = load_record(searched / row["run"])
        assert result.memory.weight_bytes == row["costs"]["weight_bytes"]
        assert row["within_budget"] == (
            result.memory.weight_bytes <= 75000 and result.latency_ms <= 1
        )
    assert len({row["layers"] for row in found["rows"]}) == 4


def test_every_recipe_of_the_front_has_a_file(searched: Path, demo: Demo) -> None:
    found = json.loads((searched / "search.json").read_text(encoding="utf-8"))
    files = {path.name for path in searched.glob("recipe-*.toml")}
    assert files == {f"recipe-{row['number']}.toml" for row in found["rows"] if row["on_front"]}
    for row in found["rows"][1:]:
        if row["on_front"]:
            text = (searched / row["recipe"]).read_text(encoding="utf-8")
            begin = f"# Candidate {row['number']} of aocq search, from the run in folder "
            assert text.startswith(f"{begin}{demo.folder.name}.\n")
            assert f"--recipe {row['recipe']} --profile {found['profile']}\n" in text
            assert f"SQNR {row['found']['sqnr_db']:.2f} dB on {LIMIT} images" in text
            assert str(demo.folder.parent) not in text
            recipe = read_recipe(searched / row["recipe"]).on(Recipe())
            given = load_record(searched / row["run"]).method.recipe
            assert recipe.weight_bits == given["weight_bits"]
            assert recipe.layers.plain() == given.get("layers", {})


def test_recipes_are_confirmed_on_images_that_the_search_did_not_use(searched: Path) -> None:
    found = json.loads((searched / "search.json").read_text(encoding="utf-8"))
    confirmed = [row for row in found["rows"] if row["confirmed"]]
    assert len(confirmed) == 2
    assert confirmed[0]["number"] == 0
    runs = [load_record(searched / row["confirmed_run"]) for row in confirmed]
    assert [run.accuracy.images for run in runs] == [20, 20]
    searching = load_record(searched / found["rows"][1]["run"])
    assert runs[0].data is not None
    assert searching.data is not None
    assert runs[0].data.digest != searching.data.digest
    text = (searched / "search.md").read_text(encoding="utf-8")
    assert "On 20 images that the search did not use" in text


def test_a_search_begins_with_what_the_run_costs(searched: Path) -> None:
    own = json.loads((searched / "search.json").read_text(encoding="utf-8"))["rows"][0]["costs"]
    told = (searched / "stderr.txt").read_text(encoding="utf-8")
    assert told.count("the run costs (ESTIMATED): ") == 1
    assert f"weight_bytes {own['weight_bytes']:,}, latency_ms {own['latency_ms']:.4g}, " in told


def test_what_all_candidates_have_alike_is_said_once(ranked: Path) -> None:
    assert len([*(ranked / "runs").iterdir()]) == 4
    told = " ".join((ranked / "stderr.txt").read_text(encoding="utf-8").split())
    assert told.count("which is not used: --hadamard asks for it") == 1


def test_a_search_says_whether_a_gain_was_confirmed(searched: Path) -> None:
    rows = json.loads((searched / "search.json").read_text(encoding="utf-8"))["rows"]
    own, *others = (row["confirmed"]["sqnr_db"] for row in rows if row["confirmed"])
    out = (searched / "stdout.txt").read_text(encoding="utf-8")
    text = (searched / "search.md").read_text(encoding="utf-8")
    assert ("no gain was confirmed: " in out) == (max(others) <= own)
    assert ("No gain was confirmed: " in text) == (max(others) <= own)


def test_a_search_given_again_makes_nothing_again(searched: Path, warm: Run, demo: Demo) -> None:
    before = {path.name: digests(path) for path in (searched / "runs").iterdir()}
    files = digests(searched)
    done = warm(*search_line(demo, searched))
    done.check(0)
    assert done.err.count("finished before") >= 5
    assert {path.name: digests(path) for path in (searched / "runs").iterdir()} == before
    assert digests(searched) == files


def test_an_interrupted_search_goes_on(
    searched: Path, warm: Run, demo: Demo, tmp_path: Path
) -> None:
    """Of a search whose last candidate is missing, and whose table is of the first."""
    out = tmp_path / "search"
    shutil.copytree(searched, out)
    found = json.loads((searched / "search.json").read_text(encoding="utf-8"))
    shutil.rmtree(out / found["rows"][3]["run"])
    for path in out.glob("search.*"):
        path.unlink()
    warm(*search_line(demo, out)).check(0)
    again = json.loads((out / "search.json").read_text(encoding="utf-8"))
    assert again == found


def test_optuna_searches_too(warm: Run, demo: Demo, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "search"
    warm(*search_line(demo, out, "--engine", "optuna")).check(0)
    found = json.loads((out / "search.json").read_text(encoding="utf-8"))
    assert found["engine"] == "optuna"
    assert len(found["rows"]) == 4
    assert (out / "optuna.journal").exists()


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (("--budget", "latency=3"), 2, "no such axis"),
        (("--budget", "weight_bytes=10"), 3, "the lowest widths everywhere have weight_bytes"),
        (("--widths", "4,9"), 2, "'9' is no width of weights"),
        (("--widths", "4,6"), 3, "weight.bits = [8, 4, 3] has no 6"),
        (("--profile", "ethos_u55_128"), 3, "weight.bits = [8]"),
        (("--limit", "400"), 3, "the search uses all of its 360 images"),
        (("--data", "nowhere"), 3, "nowhere: no such folder; --data wants"),
    ],
)
def test_what_cannot_be_searched_is_told(
    line: tuple[str, ...], code: int, told: str, warm: Run, demo: Demo, tmp_path: Path
) -> None:
    given = dict(zip(line[::2], line[1::2], strict=True))
    data = () if "--data" in given else sources(demo)[:2]
    done = warm(
        *("search", demo.folder, *data, *sources(demo)[2:], "--out", tmp_path / "out"),
        *("--limit", "10", *line) if "--limit" not in given else line,
        code=code,
    )

    assert told in " ".join(done.err.split())
    assert not (tmp_path / "out" / "search.json").exists()
