# SPDX-License-Identifier: Apache-2.0
"""Wrong input: the documented exit code, a message that names it, and earlier results untouched."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch
from command_line import Demo, Finished
from safetensors.torch import load_file, save_file

from aocq.demo.model import WEIGHTS_FILE
from simulator.profile import profile_paths

Run = Callable[..., Finished]
SMALL_JOB = ("--calib", 8, "--batch", 16)


def weights_with(path: Path, **replaced: torch.Tensor) -> Path:
    state = load_file(str(resources.files("aocq.demo") / WEIGHTS_FILE))
    save_file({**state, **{name.replace("__", "."): new for name, new in replaced.items()}}, path)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify"],
        ["verify", "vit_nano_digits"],
        ["verify", "vit_nano_digits", "--data", ".", "--w-bits", 9],
        ["verify", "vit_nano_digits", "--data", ".", "--limit", 0],
        ["verify", "vit_nano_digits", "--data", ".", "--weight-range", "best"],
        ["demo", "--no-such-option"],
        ["no-such-command"],
        ["cost"],
    ],
    ids=lambda arguments: "_".join(map(str, arguments)),
)
def test_usage_errors_end_with_2_and_a_hint(warm: Run, arguments: list[object]) -> None:
    done = warm(*arguments, code=2)
    assert "Usage:" in done.err
    assert done.out == ""


def test_taps_without_a_folder_are_a_usage_error(warm: Run, demo: Demo) -> None:
    arguments = ("--data", demo.folder / "data" / "val", "--limit", 1, "--tap", "head")
    done = warm("simulate", demo.folder, *arguments, code=2)
    assert "name a folder for them with --out" in done.err


def test_a_profile_of_ones_own_is_asked_for_by_its_file(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    """A graph knows the name of its profile, not where the file is."""
    text = profile_paths()["edge_npu_int8"].read_text(encoding="utf-8")
    profile = tmp_path / "mine.toml"
    profile.write_text(text.replace('name = "edge_npu_int8"', 'name = "mine"'), encoding="utf-8")
    warm("lower", demo.folder, "--profile", profile, "--out", tmp_path / "graph")
    done = warm("cost", tmp_path / "graph", code=3)
    assert "lowered for profile mine, which is not a shipped one; pass its file" in done.err
    assert "activations fit the SRAM" in warm("cost", tmp_path / "graph", "--profile", profile).out


def test_every_mistake_in_a_profile_is_listed(
    warm: Run, demo: Demo, earlier_run: Path, tmp_path: Path
) -> None:
    text = profile_paths()["edge_npu_int8"].read_text(encoding="utf-8")
    profile = tmp_path / "mine.toml"
    profile.write_text(
        text.replace("clock_mhz = 500", "clock_mhz = -500")
        .replace('rounding = "half_up"', 'rounding = "half_up"\nroundin = "floor"')
        .replace("bias_bits = 32", ""),
        encoding="utf-8",
    )
    done = warm(*demo.verify, "--profile", profile, "--out", earlier_run, code=3)
    assert done.err.startswith(f"error: {profile}: 3 problem(s):\n")
    assert "compute.clock_mhz = -500" in done.err
    assert "rescale.roundin: unknown key (did you mean rounding?)" in done.err
    assert "accumulator.bias_bits: missing" in done.err
    validated = warm("profiles", "validate", profile, code=3)
    assert validated.err == done.err


def test_an_unknown_profile_is_answered_with_the_nearest(
    warm: Run, demo: Demo, earlier_run: Path
) -> None:
    done = warm(*demo.verify, "--profile", "edge_npu_int", "--out", earlier_run, code=3)
    assert "profile edge_npu_int: neither a shipped profile nor a file" in done.err
    assert "nearest: edge_npu_int8" in done.err


def test_weight_bits_that_the_chip_lacks_are_refused_before_any_work(
    warm: Run, demo: Demo, earlier_run: Path
) -> None:
    done = warm(*demo.verify[:2], *demo.verify[4:], "--w-bits", 5, "--out", earlier_run, code=3)
    assert "weight.bits = [8, 4, 3] has no 5" in done.err
    assert "quantize with" not in done.err


def test_an_output_folder_below_a_file_is_refused(warm: Run, demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    below = tmp_path / "file" / "run"
    assert f"{below}" in warm(*demo.verify, "--out", below, code=3).err
    assert "cannot be written" in warm("demo", "--out", below, code=3).err
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_demo_does_not_mix_its_images_with_others(warm: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine", encoding="utf-8")
    done = warm("demo", "--out", tmp_path, code=3)
    assert f"{tmp_path / 'data'}: " in done.err
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "notes.txt"]


def test_a_bad_image_is_named_and_can_be_left_out(
    warm: Run, earlier_run: Path, few_images: Callable[[], Path], tmp_path: Path
) -> None:
    data = few_images()
    bad = data / "3" / "0000.jpg"
    bad.write_text("no image", encoding="utf-8")
    calibration = ("--calib-data", few_images(), *SMALL_JOB)
    command = ("verify", "vit_nano_digits", "--data", data, *calibration)
    refused = warm(*command, "--out", earlier_run, code=3)
    assert f"error: {bad}: cannot be decoded" in refused.err
    assert "--skip-bad-images" in refused.err
    assert refused.out == ""

    done = warm(*command, "--out", tmp_path / "run", "--skip-bad-images")
    assert f"skipped: {bad} cannot be decoded" in done.err
    run = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert run["accuracy"]["skipped_images"] == [str(bad)]
    assert run["accuracy"]["images"] == 30


def test_a_folder_without_images_is_refused(warm: Run, earlier_run: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    command = ("verify", "vit_nano_digits", "--data", empty, "--out", earlier_run)
    assert f"error: {empty}: has no subfolders" in warm(*command, code=3).err.splitlines()[-1]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            {"norm__weight": torch.full((64,), torch.nan)},
            "norm.weight has 64 values that are not finite",
        ),
        (
            {"head__weight": torch.ones(7, 64), "head__bias": torch.ones(7)},
            "head.weight has 7 classes, vit_nano_digits has 10; pass --num-classes 7",
        ),
    ],
    ids=["not_finite", "other_classes"],
)
def test_a_checkpoint_that_cannot_be_used_is_refused(
    warm: Run,
    replaced: dict[str, torch.Tensor],
    message: str,
    demo: Demo,
    earlier_run: Path,
    tmp_path: Path,
) -> None:
    weights = weights_with(tmp_path / "weights.safetensors", **replaced)
    done = warm(*demo.verify, "--weights", weights, "--out", earlier_run, code=3)
    assert f"error: {weights}: {message}" in done.err


def test_weights_that_cannot_be_fetched_are_a_matter_of_the_environment(
    warm: Run, demo: Demo, earlier_run: Path
) -> None:
    data = ("--data", demo.folder / "data" / "val", "--calib-data", demo.folder / "data" / "calib")
    done = warm("verify", "deit_tiny_patch16_224", *data, "--out", earlier_run, code=4)
    assert "model deit_tiny_patch16_224: its pretrained weights cannot be fetched" in done.err
    assert "pass --weights FILE" in done.err


def test_a_model_without_a_lowering_is_refused(
    warm: Run, demo: Demo, earlier_run: Path, tmp_path: Path
) -> None:
    import timm

    weights = tmp_path / "resnet.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=10).state_dict(), weights)
    command = ("--num-classes", 10, "--weights", weights, "--out", earlier_run)
    done = warm("verify", "test_resnet", *demo.verify[4:], *command, code=3)
    assert "error: test_resnet: operator aten.max_pool2d.default in maxpool: " in done.err


@pytest.mark.parametrize("content", [b"", b"no codes", b"PK\x05\x06" + b"\x00" * 18])
def test_codes_that_are_none_are_refused(
    without_torch: Run, content: bytes, demo: Demo, tmp_path: Path
) -> None:
    path = tmp_path / "codes.npy"
    path.write_bytes(content)
    done = without_torch("simulate", demo.folder, "--inputs", path, code=3)
    assert f"error: {path}: not a .npy file of codes" in done.err


def test_simulate_wants_exactly_one_source(warm: Run, demo: Demo) -> None:
    both = ("--data", demo.folder, "--inputs", demo.folder / "codes.npy")
    for sources in ((), both):
        done = warm("simulate", demo.folder, *sources, code=2)
        assert "give either --data FOLDER or --inputs CODES.npy" in done.err


def test_single_steps_do_not_write_into_a_finished_run(
    warm: Run, demo: Demo, earlier_run: Path
) -> None:
    """Its record would then speak of another graph."""
    calibration = ("--calib-data", demo.folder / "data" / "calib")
    for command in (("lower", earlier_run), ("quantize", "vit_nano_digits", *calibration)):
        done = warm(*command, "--out", earlier_run, code=3)
        assert f"error: {earlier_run}: " in done.err


@pytest.mark.parametrize("command", ["inspect", "cost", "lower", "report"])
def test_a_folder_that_holds_nothing_is_named(warm: Run, command: str, tmp_path: Path) -> None:
    done = warm(command, tmp_path, code=3)
    assert f"error: {tmp_path}" in done.err
    assert "`aocq " in done.err, "what would write it"
