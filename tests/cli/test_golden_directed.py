# SPDX-License-Identifier: Apache-2.0
"""``aocq golden directed``, ``aocq golden coverage`` and ``aocq simulate --op``, without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Demo, Finished

from simulator.executor import Executor
from simulator.graph import GraphBuilder, load, save
from simulator.graph.ops import Lookup
from simulator.numerics.integer_type import IntType

Run = Callable[..., Finished]
SCORES = "blocks.0.attn.scores"


@pytest.fixture(scope="module")
def directed(without_torch: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Directed vectors of a quick profile, and what was printed."""
    out = tmp_path_factory.mktemp("directed") / "vectors"
    ended = without_torch("golden", "directed", "ort_cpu", "--out", out, "--format", "hex")
    return out, ended.out


def test_directed_vectors_of_a_profile(directed: tuple[Path, str]) -> None:
    out, printed = directed
    assert "0 not told apart" in printed
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["kind"], manifest.get("graph")) == ("directed", None)
    assert manifest["source"] == "directed at the ops of profile ort_cpu"
    names = [entry["name"] for entry in manifest["ops"]]
    assert {"linear_w8.ties", "linear_w8.sums", "rescale.ties"} <= {*names}
    record = json.loads((out / "coverage.json").read_text())
    verdicts = {row["verdict"] for op in record["ops"] for row in op["rows"]}
    assert verdicts == {"told apart", "proven equal"}
    assert "| rounding=half_away |" in (out / "coverage.md").read_text()
    assert (out / "hex/tensors/rescale.ties.hex").is_file()


def test_coverage_of_a_folder_is_what_was_printed_when_it_was_made(
    directed: tuple[Path, str], without_torch: Run
) -> None:
    out, printed = directed
    assert without_torch("golden", "coverage", out).out == printed
    record = json.loads(without_torch("golden", "coverage", out, "--json").out)
    assert record == json.loads((out / "coverage.json").read_text())


def test_coverage_of_altered_files_ends_with_3(
    directed: tuple[Path, str], without_torch: Run, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(directed[0], copied)
    codes = np.load(copied / "tensors" / "rescale.ties.npy")
    codes.flat[0] ^= 1
    np.save(copied / "tensors" / "rescale.ties.npy", codes)
    ended = without_torch("golden", "coverage", copied, code=3)
    assert "rescale.ties.npy: is not the file that was recorded" in ended.err


def test_units_of_a_run_name_the_ops_that_they_stand_for(
    without_torch: Run, tmp_path: Path
) -> None:
    s8, codes = IntType(bits=8), [*range(-128, 128)]
    builder = GraphBuilder("two_lookups", types={"table": s8})
    builder.input("image", (2, 4), s8)
    builder.op(Lookup, "first", "image", table=codes, type=s8)
    builder.op(Lookup, "second", "first", table=codes, type=s8)
    (tmp_path / "run").mkdir()
    save(builder.build(), tmp_path / "run")
    out = tmp_path / "vectors"
    printed = without_torch("golden", "directed", tmp_path / "run", "--out", out).out
    assert "stands for" in printed
    assert without_torch("golden", "coverage", out).out == printed
    (unit,) = json.loads((out / "coverage.json").read_text())["ops"]
    assert (unit["op"], unit["stands_for"]) == ("lookup", ["first", "second"])
    assert "| lookup | first, second |" in (out / "coverage.md").read_text()


def test_networks_vectors_leave_rounding_modes_open(
    demo: Demo, without_torch: Run, tmp_path: Path
) -> None:
    golden = tmp_path / "golden"
    words = ("--ops", "blocks.0.*", "--random", 3, "--images", 2, "--out", golden)
    without_torch("golden", "record", demo.folder, *words)
    record = json.loads(without_torch("golden", "coverage", golden, "--json").out)
    ops = {op["op"]: op for op in record["ops"]}
    rows = {row["variant"]: row for row in ops["blocks.0.norm1"]["rows"]}
    assert rows["rounding=half_away"]["verdict"] == "not told apart"
    rows = {row["variant"]: row for row in ops["blocks.0.attn.qkv"]["rows"]}
    assert rows["rounding=half_away"]["reason"].startswith("no input makes an exact tie")


def test_one_op_on_operands_of_ones_own(demo: Demo, without_torch: Run, tmp_path: Path) -> None:
    graph = load(demo.folder)
    shape = graph.tensors[graph.inputs[0]].shape
    image = np.random.default_rng(0).integers(-128, 128, (2, *shape)).astype(np.int8)
    op = next(op for op in graph.ops if op.name == SCORES)
    taps = Executor(graph, gemm="numba").run(image, taps=[*op.operands, SCORES]).taps
    for field, name in zip("ab", op.operands, strict=True):
        np.save(tmp_path / f"{field}.npy", taps[name])
    given = [f"--inputs={field}={tmp_path / field}.npy" for field in "ab"]
    out = tmp_path / "stimulus"
    ended = without_torch("simulate", demo.folder, "--op", SCORES, *given, "--out", out, "--json")
    told = json.loads(ended.out)
    assert (told["op"], told["images"], told["outputs"]) == (SCORES, 2, taps[SCORES].size)
    assert np.array_equal(np.load(out / f"tensors/{SCORES}.npy"), taps[SCORES])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["kind"] == "stimulus"
    assert without_torch("golden", "coverage", out).out.count(SCORES) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--op", SCORES), 2, "give either --data FOLDER or --inputs CODES.npy"),
        (("--op", "nothing", "--inputs", "FILE"), 3, "has no such op"),
        (("--op", SCORES, "--inputs", "FILE"), 3, "has several operands"),
        (("--op", SCORES, "--inputs", "c=FILE"), 3, "has no operand c; give --inputs NAME=FILE"),
        (("--op", SCORES, "--inputs", "a=FILE"), 3, "input blocks.0.attn.reshape_1"),
        (("--inputs", "FILE", "--inputs", "FILE"), 2, "a graph has one input"),
        (("--op", SCORES, "--inputs", "a=missing.npy"), 3, "missing.npy: no such file"),
    ],
)
def test_refusals(
    demo: Demo,
    without_torch: Run,
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    file = tmp_path / "x.npy"
    np.save(file, np.zeros((1, 3), np.int8))
    asked = [word.replace("FILE", str(file)) for word in words]
    ended = without_torch("simulate", demo.folder, *asked, code=code)
    assert message in " ".join(ended.err.split())


def test_no_such_run_or_profile(without_torch: Run, tmp_path: Path) -> None:
    ended = without_torch("golden", "directed", "nobodys_chip", "--out", tmp_path / "x", code=3)
    assert "nobodys_chip" in ended.err
