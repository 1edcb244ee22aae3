# SPDX-License-Identifier: Apache-2.0
"""Networks that people use, on photographs: one that survives 8 bits and one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import aocq

from aocq.records.run_folder import load_run

# Beside the repository; its licences do not allow it inside.
DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.data,
    pytest.mark.networks,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="../shared/data, beside the repository, is not there"
    ),
]


def job(name: str, weights: str, images: int, calibration: int) -> tuple[object, ...]:
    return (
        *("verify", name, "--weights", DATA / "weights" / weights),
        *("--data", DATA / "imagenet" / "val", "--limit", images),
        *("--calib-data", DATA / "imagenet" / "calib", "--calib", calibration),
    )


def test_deit_tiny_loses_little(tmp_path: Path) -> None:
    weights = "deit_tiny_patch16_224.lnq8.fp16.safetensors"
    job_of_deit = job("deit_tiny_patch16_224", weights, 128, 64)
    aocq(*job_of_deit, "--method", "aocq", "--preset", "fast", "--out", tmp_path)
    result, rows = load_run(tmp_path)
    assert result.accuracy.images == 128
    assert 70 <= result.accuracy.score("float") <= 98
    assert result.accuracy.float["top5"] >= 85
    # One image is 0.8 points; the logits say more.
    assert abs(result.accuracy.drop) <= 4
    sqnr = result.accuracy.logit_sqnr_db.integer_float
    assert sqnr is not None
    assert sqnr >= 13
    assert result.accuracy.agreement.integer_simulated >= 95
    assert result.graph.float_ops == 0
    assert result.overflow.events == 0
    assert result.graph.macs > 1e9
    assert all(row.sqnr_db > 3 for row in rows if row.sqnr_db is not None)


def test_vit_tiny_drowns_in_the_outliers_of_its_residual_stream(tmp_path: Path) -> None:
    """One scale for the stream is set by few channels; what normalizes the others sees noise."""
    weights = "vit_tiny_patch16_224.augreg_in21k_ft_in1k.fp16.safetensors"
    job_of_vit = job("vit_tiny_patch16_224", weights, 16, 16)
    done = aocq(*job_of_vit, "--method", "base_ptq", "--out", tmp_path, code=1)
    assert "gate failed: integer top-1 is" in done.err
    result, rows = load_run(tmp_path)
    assert result.graph.float_ops == 0
    assert result.accuracy.score("float") >= 70
    assert result.accuracy.score("integer") <= 50
    noise = {row.op: row.sqnr_db for row in rows if row.sqnr_db is not None}
    assert noise["blocks.0.add"] > 20
    assert noise["blocks.11.add_1"] < noise["blocks.0.add"] - 10
    assert noise["blocks.0.norm1"] > 15
    for block in (8, 9, 10, 11):
        assert noise[f"blocks.{block}.norm1"] < 5


def test_factors_per_channel_save_vit_tiny(tmp_path: Path) -> None:
    weights = "vit_tiny_patch16_224.augreg_in21k_ft_in1k.fp16.safetensors"
    job_of_vit = job("vit_tiny_patch16_224", weights, 16, 16)
    # 16 images: one is 6 points, and the gate of 5 may fail by a single one.
    gate = ("--max-drop", 20, "--decide", "point")
    aocq(*job_of_vit, "--method", "aocq", "--preset", "fast", *gate, "--out", tmp_path)
    result, _ = load_run(tmp_path)
    assert result.graph.float_ops == 0
    assert result.accuracy.score("integer") >= 60


SWIN_MICRO = (
    *("verify", "swin_tiny_patch4_window7_224", "--num-classes", 10),
    *("--model-kwargs", "img_size=32 patch_size=2 embed_dim=48 window_size=4"),
    *("--model-kwargs", "depths=2,2,2", "--model-kwargs", "num_heads=3,6,12"),
    *("--preprocessing", "mean=0.4914,0.4822,0.4465 std=0.2470,0.2435,0.2616 crop_pct=1.0"),
    *("--weights", DATA / "weights" / "swin_micro_cifar10.fp16.safetensors"),
    *("--data", DATA / "cifar10" / "val", "--limit", 100),
    *("--calib-data", DATA / "cifar10" / "calib", "--calib", 16),
)


def test_swin_loses_little_with_weights_of_4_bits(tmp_path: Path) -> None:
    """Windows, masks, relative positions and merged patches, on a trained network."""
    options = ("--w-bits", 4, "--method", "aocq", "--preset", "fast", "--out", tmp_path)
    aocq(*SWIN_MICRO, *options)
    result, rows = load_run(tmp_path)
    assert result.model.arguments["depths"] == [2, 2, 2]
    assert 60 <= result.accuracy.score("float") <= 85
    # One image is a point; the logits say more.
    assert result.accuracy.drop <= 3
    assert result.accuracy.agreement.integer_float >= 94
    assert result.accuracy.agreement.integer_simulated >= 99
    sqnr = result.accuracy.logit_sqnr_db.integer_float
    assert sqnr is not None
    assert sqnr >= 20
    assert result.graph.float_ops == 0
    assert result.overflow.events == 0
    assert sum(row.op.endswith("mask") for row in rows) == 2
