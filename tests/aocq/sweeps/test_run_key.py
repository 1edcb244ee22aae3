# SPDX-License-Identifier: Apache-2.0
"""Names of run folders: another one for whatever changes a figure, the same for what does not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from aocq.jobs.request import (
    CalibrationRequest,
    EmulationRequest,
    EvaluationRequest,
    ModelRequest,
    VerifyRequest,
)
from aocq.recipes.recipe import Recipe
from aocq.records.gates import Gates
from aocq.sweeps import run_key as module
from aocq.sweeps.run_key import calibration_group, run_key
from simulator.errors import InputError
from simulator.profile import NpuProfile, load_profile
from simulator.profile.variation import varied

BASE = load_profile("edge_npu_int8")


@pytest.fixture
def request_(tmp_path: Path) -> VerifyRequest:
    for name in ("val", "calib"):
        (tmp_path / name / "0").mkdir(parents=True)
        (tmp_path / name / "0" / "a.png").write_bytes(b"image")
    (tmp_path / "weights").write_bytes(b"weights")
    calibration = CalibrationRequest(
        method="base_ptq", recipe=Recipe(), folder=tmp_path / "calib", images=3
    )
    return VerifyRequest(
        model=ModelRequest(name="vit_nano_digits", weights=tmp_path / "weights"),
        profile="edge_npu_int8",
        calibration=calibration,
        evaluation=EvaluationRequest(folder=tmp_path / "val", limit=2),
        emulation=EmulationRequest(),
        gates=Gates(),
        out=tmp_path / "out",
        command=("aocq",),
    )


def key(request: VerifyRequest, profile: NpuProfile = BASE) -> str:
    """The key as another process would find it."""
    module.folder_digest.cache_clear()
    module.weights_digest.cache_clear()
    return run_key(request, profile)


def test_what_changes_a_figure_changes_the_name(request_: VerifyRequest, tmp_path: Path) -> None:
    calibration, evaluation = request_.calibration, request_.evaluation
    found = [
        key(request_),
        key(request_, varied(BASE, BASE.name, {"accumulator.bits": 20})),
        key(replace(request_, task="detection")),
        key(replace(request_, evaluation=replace(evaluation, limit=1))),
        key(replace(request_, calibration=replace(calibration, images=2))),
        key(replace(request_, calibration=replace(calibration, method="aocq"))),
        key(replace(request_, calibration=replace(calibration, recipe=Recipe(seed=1)))),
        key(replace(request_, model=replace(request_.model, arguments={"img_size": 32}))),
        key(replace(request_, model=replace(request_.model, weights=None))),
    ]
    (tmp_path / "weights").write_bytes(b"others")
    found.append(key(request_))
    os.utime(tmp_path / "val" / "0" / "a.png", (1, 1))
    found.append(key(request_))
    (tmp_path / "calib" / "0" / "b.png").write_bytes(b"more")
    found.append(key(request_))
    assert len({*found}) == len(found) == 12


def test_images_behind_links_count_and_circles_of_links_end(
    request_: VerifyRequest, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    image, single = tmp_path / "elsewhere" / "c.png", tmp_path / "single.png"
    image.write_bytes(b"image")
    single.write_bytes(b"image")
    (tmp_path / "val" / "1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "val" / "0" / "d.png").symlink_to(single)
    (tmp_path / "val" / "0" / "up").symlink_to(tmp_path / "val")
    (tmp_path / "val" / "0" / "nowhere.png").symlink_to(tmp_path / "nothing")
    found = [key(request_)]
    image.write_bytes(b"another image")
    found.append(key(request_))
    single.write_bytes(b"another image")
    found.append(key(request_))
    assert len({*found}) == 3
    assert key(request_) == found[-1]


def test_what_changes_no_figure_keeps_it(request_: VerifyRequest, tmp_path: Path) -> None:
    other = replace(
        request_,
        emulation=EmulationRequest(threads=3, gemm="numba"),
        gates=Gates(max_drop=1.0),
        out=tmp_path / "elsewhere",
        command=("aocq", "other"),
    )
    assert key(other) == key(request_)


def test_chips_that_a_method_cannot_tell_apart_share_a_calibration(
    request_: VerifyRequest,
) -> None:
    narrow = varied(BASE, "narrow", {"accumulator.bits": 16, "compute.engine.rows": 8})
    symmetric = varied(BASE, "symmetric", {"activation.zero_point": "symmetric"})
    plain = calibration_group(request_, BASE)
    assert calibration_group(request_, narrow) == plain
    assert calibration_group(request_, symmetric) != plain


def test_what_is_missing_is_named(request_: VerifyRequest, tmp_path: Path) -> None:
    weights = replace(request_.model, weights=tmp_path / "none")
    with pytest.raises(InputError, match=r"none: cannot be read .* name a checkpoint"):
        key(replace(request_, model=weights))
    missing = replace(request_.evaluation, folder=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"nowhere: cannot be read .* name a folder of images"):
        key(replace(request_, evaluation=missing))
