# SPDX-License-Identifier: Apache-2.0
"""What a method is asked for on the command line, and what is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import Demo, Finished, record

from aocq.methods import METHODS
from aocq.recipes.aocq_options import USED_WITH, AocqOptions
from aocq.recipes.fields import field_specs
from simulator.profile import profile_paths

Run = Callable[..., Finished]
SHORT = ("--limit", 10, "--batch", 10)
DEPTH = 2  # blocks of the demo


@pytest.mark.parametrize("command", ["verify", "quantize", "demo"])
def test_an_unknown_method_is_a_usage_error_that_names_the_methods(
    warm: Run, demo: Demo, command: str
) -> None:
    wanted = {
        "verify": demo.verify,
        "quantize": ("quantize", "vit_nano_digits", "--calib-data", demo.folder / "data" / "calib"),
        "demo": ("demo",),
    }
    done = warm(*wanted[command], "--method", "base_ptqq", code=2)
    assert "no method 'base_ptqq'" in done.err
    for name in METHODS:
        assert name in done.err


@pytest.mark.parametrize(
    "option",
    [
        ("--alpha", "pot4"),
        ("--rounding", "up"),
        ("--loss", "huber"),
        ("--scale-passes", 5),
        ("--preset", "slow"),
        ("--float-ops", "none"),
        ("--device", "tpu"),
        ("--a-bits", 2),
        ("--a-bits", 9),
        ("--a-bits", 15),
        ("--a-bits", 17),
    ],
    ids=lambda option: "".join(map(str, option)),
)
def test_options_of_a_method_take_only_what_they_name(
    warm: Run, demo: Demo, option: tuple[object, ...]
) -> None:
    assert "Usage:" in warm(*demo.verify, *option, code=2).err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--reconstruction-steps", 9), "--reconstruction-steps: only with --rounding reconstruct"),
        (("--reconstruction-batch", 4), "only with --rounding reconstruct; --rounding is gptq"),
        (("--drop-probability", 0.1, "--rounding", "adaround"), "--rounding is adaround"),
        (("--held-out-share", 0.5, "--preset", "paper"), "--rounding is adaround"),
        (("--look-ahead", 1), "--look-ahead: only with --rounding reconstruct or adaround"),
        (("--hadamard-block", 16), "--hadamard-block: only with --hadamard fc2 or all"),
        (("--row-clipping", 0.9), "--row-clipping: only with --row-steps scores or projection"),
    ],
    ids=str,
)
def test_what_another_option_leaves_without_use_is_a_usage_error(
    warm: Run, demo: Demo, given: tuple[object, ...], said: str
) -> None:
    done = warm(*demo.verify, *given, code=2)
    assert said in " ".join(done.err.replace("│", " ").split())


def test_every_option_that_others_make_use_of_is_one_of_its_own() -> None:
    described = field_specs(AocqOptions)
    for name, (other, values) in USED_WITH.items():
        assert described[name].option is not None
        for value in values:
            assert described[other].problem(value) is None


def test_the_recipe_on_record_is_the_preset_with_what_was_given(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    given = ("--alpha", "pot5", "--alpha-sharing", "stage", "--no-balance-inputs")
    given = (*given, "--rounding", "nearest", "--loss", "mse", "--float-ops", "integer")
    job = (*demo.verify, *SHORT, "--method", "base_ptq", "--preset", "paper")
    given = (*given, "--norm-exponent", 1, "--loss-channels", "gamma")
    given = (*given, "--class-token-weight", 2.5)
    done = warm(*job, *given, "--scale-passes", 2, "--out", tmp_path)
    ignored = "--alpha, --alpha-sharing, --no-balance-inputs, --scale-passes, --rounding, --loss, "
    ignored += "--norm-exponent, --loss-channels, --class-token-weight"
    assert f"note: method base_ptq ignores {ignored}: options of method aocq\n" in done.err
    recipe = record(tmp_path)["method"]["recipe"]
    assert recipe["float_ops"] == "integer"
    assert recipe["aocq"] == {
        "alpha": "pot5",
        "alpha_choice": "mse",
        "alpha_sharing": "stage",
        "balance_inputs": False,
        "scale_passes": 2,
        "search_images": 64,
        "image_views": 1,
        "rounding": "nearest",
        "adaround_steps": 20_000,
        "adaround_batch": 32,
        "reconstruction_steps": 200,
        "reconstruction_batch": 8,
        "look_ahead": 0,
        "drop_probability": 0.5,
        "held_out_share": 0.2,
        "loss": "mse",
        "norm_exponent": 1.0,
        "loss_channels": "gamma",
        "class_token_weight": 2.5,
        "dense_tokens": "deviation",
        "narrow_sums": "observed",
        "rotate_stream": "unbalanced",
        "rotate_heads": False,
        "hadamard": "none",
        "hadamard_block": 0,
        "row_steps": "none",
        "row_clipping": 0.85,
        "block_steps": False,
    }


def test_rotations_are_of_the_float_network_too(warm: Run, demo: Demo, tmp_path: Path) -> None:
    """A rotated tensor is compared with the rotated one of the float network."""
    profile = tmp_path / "rotating.toml"
    shipped = profile_paths()["edge_npu_int8"].read_text(encoding="utf-8")
    profile.write_text(
        shipped.replace('name = "edge_npu_int8"', 'name = "rotating"').replace(
            "[residual]", "[hadamard]\nlargest_order = 64\n\n[residual]"
        ),
        encoding="utf-8",
    )
    job = (*demo.verify, *SHORT, "--profile", profile, "--scale-passes", 0)
    job = (*job, "--rotate-heads", "--hadamard", "all")
    warm(*job, "--out", tmp_path / "run")
    with (tmp_path / "run" / "layers.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["op"]: row for row in csv.DictReader(file)}
    rotated = {name: float(row["sqnr_db"]) for name, row in rows.items() if ".hadamard" in name}
    assert len(rotated) == 4 * DEPTH
    assert min(rotated.values()) > 15
    warm(*demo.verify, *SHORT, "--hadamard", "all", "--out", tmp_path / "refused", code=3)


def test_a_preset_has_its_number_of_images_and_missing_ones_are_noted(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    job = ("verify", "vit_nano_digits", "--data", demo.folder / "data" / "val", *SHORT)
    job = (*job, "--calib-data", demo.folder / "data" / "calib", "--method", "base_ptq")
    fast = warm(*job, "--preset", "fast", "--out", tmp_path / "fast")
    assert "note:" not in fast.err  # a preset also has a number of images: not AOCQ's alone
    assert record(tmp_path / "fast")["method"]["calibration_images"] == 64
    default = warm(*job, "--out", tmp_path / "default")
    assert "note: 128 calibration images are there, up to 250 may be: all are used" in default.err
    assert record(tmp_path / "default")["method"]["calibration_images"] == 128
    own = warm(*job, "--preset", "fast", "--calib-images", 7, "--out", tmp_path / "own")
    assert "note:" not in own.err
    assert record(tmp_path / "own")["method"]["calibration_images"] == 7


def test_what_a_chip_lacks_counts_only_for_methods_that_would_use_it(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    job = (*demo.verify, *SHORT, "--calib", 8, "--max-drop", 100)
    asked = ("--hadamard", "all", "--row-steps", "all")
    done = warm(*job, "--method", "base_ptq", *asked, "--out", tmp_path / "run")
    assert "method base_ptq ignores --hadamard, --row-steps" in done.err
    assert record(tmp_path / "run")["method"]["name"] == "base_ptq"
    done = warm(*job, *asked, "--out", tmp_path / "other", code=3)
    rotating = "edge_npu_int8_wide, edge_npu_packed, edge_npu_w4a8"
    assert f"(choose --hadamard none, or --profile {rotating})" in done.err
    assert "(choose --row-steps none);" in done.err  # no chip has them and operands of 8 bits
    narrow = ("--w-bits", 4, "--a-bits", 4, "--profile", "edge_npu_a4")
    done = warm(*job, *asked, *narrow, "--out", tmp_path / "other", code=3)
    steps = "edge_npu_w4a4_dynamic, edge_npu_w4a4_shifts"
    assert f"(choose --hadamard none, or --profile edge_npu_w4a4, {steps})" in done.err
    assert f"(choose --row-steps none, or --profile {steps})" in done.err


def test_narrow_activations_take_a_method_that_leaves_operators_in_float(
    warm: Run, demo: Demo, earlier_run: Path, tmp_path: Path
) -> None:
    job = (*demo.verify, *SHORT, "--calib", 8, "--a-bits", 5, "--max-drop", 100)
    warm(*job, "--method", "base_ptq_paper", "--out", tmp_path / "run")
    assert record(tmp_path / "run")["method"]["activation_bits"] == 5
    for other in (
        ("--method", "base_ptq"),
        ("--method", "base_ptq_paper", "--float-ops", "integer"),
    ):
        done = warm(*job, *other, "--out", earlier_run, code=3)
        assert (
            "activation.bits = 8, the model has 5 (choose --a-bits 8; or a method that leaves"
            in done.err
        )
        assert "quantize with" not in done.err


def test_sixteen_bit_activations_are_asked_of_the_profile(
    warm: Run, demo: Demo, earlier_run: Path
) -> None:
    done = warm(*demo.verify, "--a-bits", 16, "--out", earlier_run, code=3)
    assert "activation.bits = 8, the model has 16 (choose --a-bits 8" in done.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_a_matter_of_the_environment(
    warm: Run, demo: Demo, earlier_run: Path
) -> None:
    done = warm(*demo.verify, "--device", "cuda", "--out", earlier_run, code=4)
    assert "error: device cuda: torch finds no usable GPU here" in done.err
    assert "leave --device out" in done.err


def test_help_needs_no_torch(without_torch: Run) -> None:
    assert "--scale-passes" in without_torch("verify", "--help").out
