# SPDX-License-Identifier: Apache-2.0
"""The main job in single steps, most of them in processes without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command_line import ENVIRONMENT, WATCHED, Demo, Finished, digests

from aocq.data.image_folder import read_image_folder
from aocq.data.loader import ImageBatches
from aocq.records.run_folder import load_run
from simulator.boundary import quantize
from simulator.graph import load
from simulator.product_choice.classes import usual_classes
from simulator.profile import profile_paths

Run = Callable[..., Finished]


class Steps(NamedTuple):
    """A folder with a quantized model and its graph, and what the two commands said."""

    folder: Path
    quantize: Finished
    lower: Finished


@pytest.fixture(scope="module")
def steps(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    folder = tmp_path_factory.mktemp("steps")
    job = ("--w-bits", 4, "--calib-data", demo.folder / "data" / "calib", "--calib", 128)
    quantized = warm("quantize", "vit_nano_digits", *job, "--out", folder)
    return Steps(folder, quantized, warm("lower", folder))


@pytest.fixture(scope="module")
def codes(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first forty test images as the graph's input codes."""
    graph = load(demo.folder)
    images = read_image_folder(demo.folder / "data" / "val", 10)[:40]
    preprocessing = json.loads(graph.meta["preprocessing"])
    [(pixels, _)] = ImageBatches(images, preprocessing, batch=40)
    path = tmp_path_factory.mktemp("codes") / "codes.npy"
    np.save(path, quantize(pixels.numpy(), graph.tensors["image"]))
    return path


def test_quantize_and_lower_give_the_graph_of_the_main_job(demo: Demo, steps: Steps) -> None:
    for name in ("graph.json", "graph.safetensors", "quantized.json", "quantized.safetensors"):
        assert digests(steps.folder)[name] == digests(demo.folder)[name], name
    assert steps.quantize.out == ""
    assert f"next: aocq lower {steps.folder} --profile edge_npu_int8" in steps.quantize.err
    sha256 = load_run(demo.folder)[0].graph.sha256
    assert steps.lower.out == f"{sha256}\n"


def test_lower_for_a_profile_that_cannot_hold_the_model_is_refused(
    warm: Callable[..., Finished], steps: Steps
) -> None:
    before = digests(steps.folder)
    done = warm("lower", steps.folder, "--profile", "narrow_acc_20", code=3)
    assert 'activation.zero_point = "symmetric", the model has zero points' in done.err
    assert digests(steps.folder) == before


def test_inspect_prints_a_line_per_op(without_torch: Run, demo: Demo) -> None:
    done = without_torch("inspect", demo.folder)
    header, *lines = done.out.splitlines()
    assert header.endswith("MMAC   10 classes")
    assert header.startswith("graph vit_nano_digits   profile edge_npu_int8   sha256 ")
    assert len(lines) == 1 + load_run(demo.folder)[0].graph.ops
    assert any("blocks.0.attn.scores" in line and "matmul" in line for line in lines)
    assert lines[0].split()[0] == "image"
    numbered = [(int(line.split()[0]), line.split()[1]) for line in lines[1:]]
    assert numbered == [(row.index, row.op) for row in load_run(demo.folder)[1]], "layers.csv"
    assert done.err == ""
    assert without_torch("inspect", demo.folder / "graph.json").out == done.out


def test_simulating_images_gives_the_accuracy_of_the_main_job(warm: Run, demo: Demo) -> None:
    done = warm("simulate", demo.folder, "--data", demo.folder / "data" / "val", "--json")
    found = json.loads(done.out)
    result, _ = load_run(demo.folder)
    assert found["top1"] == pytest.approx(result.accuracy.score("integer"), abs=1e-4)
    assert found["top5"] == pytest.approx(result.accuracy.integer["top5"], abs=1e-4)
    assert found["images"] == 360
    assert (found["network"], found["profile"]) == ("vit_nano_digits", "edge_npu_int8")
    assert (found["data"], found["inputs"]) == (str(demo.folder / "data" / "val"), None)
    assert (found["classes"], found["model_arguments"]) == (10, {})
    assert found["graph_sha256"] == result.graph.sha256
    assert found["overflowed"] == result.overflow.events
    assert found["skipped_images"] == 0
    assert "simulate: 360/360" in done.err


def test_a_stream_that_could_be_wider_is_told(warm: Run, steps: Steps, tmp_path: Path) -> None:
    text = profile_paths()["edge_npu_int8"].read_text(encoding="utf-8")
    wide = tmp_path / "wide.toml"
    wide.write_text(text.replace("residual_bits = 8", "residual_bits = 16"), encoding="utf-8")
    done = warm("lower", steps.folder, "--profile", wide, "--out", tmp_path / "out")
    assert "the residual stream has 8 bits, as the network was quantized" in done.err
    assert "residual stream" not in steps.lower.err


def test_codes_are_the_same_with_and_without_torch(
    warm: Run, without_torch: Run, demo: Demo, codes: Path, tmp_path: Path
) -> None:
    folders = {}
    for without in (False, True):
        folder = tmp_path / f"without_{without}"
        taps = ("--tap", "blocks.0.attn.scores", "--tap", "image", "--out", folder)
        run = without_torch if without else warm
        done = run("simulate", demo.folder, "--inputs", codes, "--json", *taps)
        found = json.loads(done.out)
        assert found["gemm_backend"] != "torch" or not without
        assert found["images"] == 40
        assert (found["data"], found["inputs"], found["classes"]) == (None, str(codes), 10)
        assert f"codes: {folder}, 3 files: TENSOR.BATCH.npy\n" in done.err
        folders[without] = digests(folder)
    assert folders[True] == folders[False]
    assert set(folders[True]) == {
        "blocks.0.attn.scores.00000.npy",
        "head.00000.npy",
        "image.00000.npy",
        "manifest.json",
    }
    head = np.load(tmp_path / "without_True" / "head.00000.npy")
    assert (head.shape, head.dtype) == ((40, 10), np.int8)
    np.testing.assert_array_equal(
        np.load(tmp_path / "without_True" / "image.00000.npy"), np.load(codes)
    )
    # The first forty of the sorted images are zeros and ones: nearly all are recognized.
    labels = [item.label for item in read_image_folder(demo.folder / "data" / "val", 10)[:40]]
    assert np.mean(head.argmax(axis=1) == labels) > 0.9


def test_codes_are_simulated_without_importing_torch(demo: Demo, codes: Path) -> None:
    """Where torch is installed: nothing has to be blocked for it."""
    command = ("simulate", demo.folder, "--inputs", codes, "--limit", 1, "--json")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, command)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    imported = set(done.stderr.splitlines()[-1].split())
    assert {"numpy", "numba"} <= imported
    assert not imported & {"torch", "timm", "torchvision"}
    assert json.loads(done.stdout)["gemm_backend"] in {"avx2", "blas", "numba"}


def test_taps_are_named_by_patterns(
    without_torch: Run, demo: Demo, codes: Path, tmp_path: Path
) -> None:
    command = ("simulate", demo.folder, "--inputs", codes, "--limit", 2, "--out", tmp_path / "taps")
    without_torch(*command, "--tap", "blocks.1.attn.*", "--tap", "head")
    found = {path.name.removesuffix(".00000.npy") for path in (tmp_path / "taps").glob("*.npy")}
    ops = {row.op for row in load_run(demo.folder)[1]}
    assert found == {op for op in ops if op.startswith("blocks.1.attn.")} | {"head"}
    assert len(found) > 5
    constant = next(iter(load(demo.folder).constants))
    for wrong, said in (
        ("blocks.0.attn.score", "no such tensor; nearest: blocks.0.attn.scores"),
        ("blocks.9.*", "no such tensor; nearest: "),
        (constant, "is a constant"),
    ):
        assert said in without_torch(*command, "--tap", wrong, code=3).err


def test_a_limit_takes_the_first_codes(without_torch: Run, demo: Demo, codes: Path) -> None:
    text = without_torch("simulate", demo.folder, "--inputs", codes, "--limit", 7).out
    told = dict(line.split() for line in text.partition("\n\n")[0].splitlines())
    assert (told["network"], told["profile"]) == ("vit_nano_digits", "edge_npu_int8")
    assert (told["inputs"], told["classes"], told["images"]) == (str(codes), "10", "7")
    assert "data" not in told
    done = without_torch(*("simulate", demo.folder, "--inputs", codes, "--limit", 7, "--json"))
    assert json.loads(done.out)["images"] == 7


def test_codes_of_another_shape_or_type_are_refused(
    without_torch: Run, demo: Demo, tmp_path: Path
) -> None:
    np.save(tmp_path / "shape.npy", np.zeros((2, 3, 9, 9), np.int8))
    np.save(tmp_path / "type.npy", np.zeros((2, 3, 8, 8), np.float32))
    for name, complaint in (("shape", "(2, 3, 9, 9)"), ("type", "float32")):
        path = tmp_path / f"{name}.npy"
        done = without_torch("simulate", demo.folder, "--inputs", path, code=3)
        assert done.err.startswith(f"error: {path}: input image: codes of ")
        assert complaint in done.err


def test_cost_gives_the_estimate_of_the_main_job(without_torch: Run, demo: Demo) -> None:
    done = without_torch("cost", demo.folder, "--json")
    found, result = json.loads(done.out), load_run(demo.folder)[0]
    assert found["latency_ms"] == result.latency_ms
    assert found["cycles"]["total"] == result.cycles.total
    assert found["cycles"]["by_kind"] == result.cycles.by_kind
    assert found["memory"]["peak_sram_bytes"] == result.memory.peak_sram_bytes
    assert done.err == ""
    table = without_torch("cost", demo.folder).out
    assert "ESTIMATED" in table
    assert f"vit_nano_digits in {demo.folder} on edge_npu_int8, one image" in table


def test_report_writes_the_same_pages_again(without_torch: Run, demo: Demo, tmp_path: Path) -> None:
    done = without_torch("report", demo.folder, "--out", tmp_path)
    assert done.out == f"{tmp_path / 'report.html'}\n"
    for name in ("report.html", "report.md"):
        assert (tmp_path / name).read_bytes() == (demo.folder / name).read_bytes()
    printed = without_torch("report", demo.folder, "--markdown").out
    assert printed == (demo.folder / "report.md").read_text("utf-8")


# --- the smaller commands -------------------------------------------------------------------------


def test_help_lists_every_command(without_torch: Run) -> None:
    done = without_torch("--help")
    for name in (
        *("verify", "demo", "quantize", "lower", "simulate", "cost", "inspect", "report"),
        *("models", "doctor", "profiles"),
    ):
        assert f" {name} " in done.out
    assert (
        "Exit codes: 0 fine, 1 the verdict is NO or UNDECIDED, 2 usage, 3 bad input, 4 environment"
        in done.out
    )


def test_every_command_has_help_that_needs_no_torch(without_torch: Run) -> None:
    for name in ("verify", "demo", "quantize", "simulate", "profiles"):
        assert "Usage:" in without_torch(name, "-h").out


def test_models_are_listed_by_family(warm: Run) -> None:
    names = warm("models").out.splitlines()
    assert names[0] == "vit_nano_digits"
    known = {"deit_tiny_patch16_224", "vit_tiny_patch16_224", "cait_xxs24_224"}
    assert {*known, "swin_tiny_patch4_window7_224"} <= set(names)
    assert not any(name.startswith(("pvt", "resnet")) for name in names)
    assert len(names) == len(set(names))
    assert not {"aimv2_large_patch14_224", "vit_base_patch16_siglip_224", "levit_conv_128"} & {
        *names
    }


def test_the_doctor_needs_no_torch(without_torch: Run) -> None:
    done = without_torch("doctor")
    assert "cannot be quantized here: pip install 'aocq[quantize]'" in done.out
    assert "exact" in done.out


@pytest.fixture(scope="module")
def doctor(warm: Run) -> Finished:
    return warm("doctor")


def test_the_doctor_finds_everything_it_needs(doctor: Finished) -> None:
    for line in ("python", "torch", "timm", "kernel cache", "threads", "gemm blas", "gemm numba"):
        assert f"\n{line}" in f"\n{doctor.out}"
    assert "vit_nano_digits, 102,730 parameters" in doctor.out


def test_the_doctor_says_which_products_are_fast_here(doctor: Finished) -> None:
    lines = doctor.out.splitlines()
    (path,) = (line.split()[-1] for line in lines if line.startswith("rates kept in"))
    (head,) = (line.split() for line in lines if line.startswith("products "))
    names = head[1:-1]
    rows = [line for line in lines if line.startswith(("layer, ", "attention, "))]
    kept = json.loads(Path(path).read_text("utf-8"))["classes"]
    assert len(rows) == len(usual_classes()) <= len(kept)
    for row, which in zip(rows, usual_classes(), strict=True):
        cells = row.removeprefix(str(which)).split()
        assert row.startswith(str(which))
        assert len(cells) == len(names) + 1
        assert cells[-1] in names
    taken = [row.split()[-1] for row in rows]
    for name in {*taken}:
        count = "all" if len({*taken}) == 1 else f"{taken.count(name)} of {len(taken)}"
        assert f"--gemm auto takes {name} for {count} classes." in lines


@pytest.mark.parametrize("command", ["lower", "figures", "accumulators"])
def test_every_command_refuses_decisions_that_are_none(
    command: str, warm: Run, demo: Demo, tmp_path: Path
) -> None:
    folder, out = tmp_path / "model", tmp_path / "out"
    folder.mkdir()
    for name in ("quantized.json", "quantized.safetensors"):
        shutil.copy(demo.folder / name, folder)
    plain = json.loads((folder / "quantized.json").read_text("utf-8"))
    plain["activations"]["image"]["zero_point"] = 0.5
    (folder / "quantized.json").write_text(json.dumps(plain), "utf-8")
    data = () if command == "lower" else ("--data", demo.folder / "data" / "val")
    refused = warm(command, folder, *data, "--out", out, code=3)
    assert "quantized.json: not a quantized model of format 3 (activations.image.zero_point: " in (
        refused.err
    )
    assert not list(out.glob("*"))
