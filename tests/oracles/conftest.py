# SPDX-License-Identifier: Apache-2.0
"""Hands out the oracles, and counts what they were asked; ``tests/conftest.py`` lists the counts.

A missing oracle skips its tests with the reason; with ``AOCQ_REQUIRE_ORACLES=1`` it fails them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import environments
import pytest
from gemmlowp_oracle import Gemmlowp
from grad_cam_oracle import GradCam
from lite_oracle import Engine, Lite
from oracle_process import OracleProcess
from presence import need
from scale_sim_oracle import ScaleSim
from tally import COUNTS
from tosa_oracle import Tosa
from verilog_oracle import Verilog


@pytest.fixture(scope="session")
def lite() -> Iterator[Lite]:
    """LiteRT, and the process it shares with the other engines."""
    need("lite")
    with OracleProcess(environments.python("lite"), "lite_process.py") as process:
        yield Lite(process)


@pytest.fixture(scope="session")
def tflm(lite: Lite) -> Lite:
    """The same object where TensorFlow Lite Micro is there too."""
    need("tflm")
    return lite


@pytest.fixture
def lite_of_engine(request: pytest.FixtureRequest, engine: Engine) -> Lite:
    """The same object for a test with a parameter ``engine``, where that engine is there."""
    lite: Lite = request.getfixturevalue("tflm" if engine is Engine.TFLM else "lite")
    return lite


@pytest.fixture(scope="session")
def onnx(lite: Lite) -> Lite:
    """The same object where onnxruntime is there too."""
    need("onnx")
    return lite


@pytest.fixture(scope="session")
def tosa() -> Iterator[Tosa]:
    """TOSA's reference model."""
    need("tosa")
    with OracleProcess(environments.python("tosa"), "tosa_process.py") as process:
        yield Tosa(process)


@pytest.fixture(scope="session")
def scale_sim() -> Iterator[ScaleSim]:
    """SCALE-Sim."""
    need("scale_sim")
    with OracleProcess(environments.python("scalesim"), "scale_sim_process.py") as process:
        yield ScaleSim(process)


@pytest.fixture(scope="session")
def grad_cam() -> Iterator[GradCam]:
    """pytorch-grad-cam."""
    need("grad_cam")
    with OracleProcess(environments.python("gradcam"), "grad_cam_process.py") as process:
        yield GradCam(process)


@pytest.fixture(scope="session")
def gemmlowp(tmp_path_factory: pytest.TempPathFactory) -> Gemmlowp:
    """gemmlowp's fixed-point functions."""
    need("gemmlowp")
    return Gemmlowp(tmp_path_factory.mktemp("gemmlowp"))


@pytest.fixture
def verilog(tmp_path: Path) -> Verilog:
    """Our Verilog under Icarus."""
    need("verilog")
    return Verilog(tmp_path)


@pytest.fixture
def record_count(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return ``record(oracle, row, compared=…, mismatches=…)``: a line of the summary."""

    def record(oracle: str, row: str, *, compared: int, mismatches: int) -> None:
        line = [oracle, row, int(compared), int(mismatches)]
        # User properties travel from xdist's workers to the process that writes the summary.
        request.node.user_properties.append((COUNTS, line))
        print(f"{oracle}: {row}: {int(compared):,} compared, {int(mismatches):,} mismatches")

    return record
