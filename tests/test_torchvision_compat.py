# SPDX-License-Identifier: Apache-2.0
"""Each case runs in an interpreter of its own, since an operator once declared stays so.

The three kinds of torch and torchvision are acted out by what is in the interpreter: no
torchvision library (the operators are missing), one that provides the operators, and a CUDA torch.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# An interpreter that forks for every case, for importing torch is what takes long. Stands for a
# torchvision whose C++ library cannot be loaded, whatever is installed.
FORKING = """
import json, os, sys
sys.modules["torchvision"] = None
import torch
for name, code in json.loads(sys.argv[1]).items():
    print("#", name, flush=True)
    if os.fork() == 0:
        exec(code)
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0, name
"""
# Stands for a torchvision whose C++ library was loaded: it has defined its operators.
OWN = "own = torch.library.Library('torchvision', 'DEF')\n"
NMS = "own.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
QNMS = "own.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
DECLARE = "from aocq.zoo.torchvision_compat import declare_missing_operators as declare\n"
CPU, CUDA = "torch.version.cuda = None\n", "torch.version.cuda = '12.6'\n"
CASES = {
    "missing": CPU
    + DECLARE
    + "print(declare(), declare())\n"
    + "print(*(hasattr(torch.ops.torchvision, name) for name in ('nms', 'qnms')))\n"
    + "print(torch.ops.torchvision.nms.default._schema)",
    "one": OWN + NMS + CPU + DECLARE + "print(declare())",
    "loaded": OWN + NMS + QNMS + CPU + DECLARE + "print(declare())",
    "cuda": CUDA + DECLARE + "print(declare(), hasattr(torch.ops.torchvision, 'nms'))",
}


def run(*arguments: str) -> str:
    """Run in a fresh interpreter, warnings being errors, and give what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="module")
def printed() -> dict[str, list[str]]:
    """What each of the cases prints."""
    parts = run(FORKING, json.dumps(CASES)).split("# ")[1:]
    return {name: lines for name, *lines in (part.splitlines() for part in parts)}


def test_missing_operators_are_declared_once(printed: dict[str, list[str]]) -> None:
    declared, there, schema = printed["missing"]
    assert declared == "('nms', 'qnms') ()"
    assert there == "True True"
    assert schema == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def test_only_the_missing_one_is_declared(printed: dict[str, list[str]]) -> None:
    assert printed["one"] == ["('qnms',)"]


def test_operators_of_a_loaded_library_are_left_alone(printed: dict[str, list[str]]) -> None:
    assert printed["loaded"] == ["()"]


def test_nothing_is_declared_on_a_cuda_build(printed: dict[str, list[str]]) -> None:
    assert printed["cuda"] == ["() False"]


def test_timm_can_be_imported_afterwards() -> None:
    code = DECLARE + "declare(); import timm; print(timm.is_model('vit_tiny_patch16_224'))"
    assert run(code) == "True"
