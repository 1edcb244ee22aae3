# SPDX-License-Identifier: Apache-2.0
"""Each case runs in a fresh interpreter, since an operator once declared stays so.

The three kinds of torch and torchvision are acted out by what is in the interpreter: no
torchvision library (the operators are missing), one that provides the operators, and a CUDA torch.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Stands for a torchvision whose C++ library cannot be loaded, whatever is installed.
WITHOUT_TORCHVISION = "import sys; sys.modules['torchvision'] = None\n"
# Stands for a torchvision whose C++ library was loaded: it has defined its operators.
WITH_OPERATORS = WITHOUT_TORCHVISION + (
    "import torch; own = torch.library.Library('torchvision', 'DEF')\n"
    "own.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
)
QNMS = "own.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
DECLARE = "from aocq.torchvision_compat import declare_missing_operators as declare\n"


def run(code: str) -> str:
    """Run in a fresh interpreter, warnings being errors, and give what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_missing_operators_are_declared_once() -> None:
    code = WITHOUT_TORCHVISION + "import torch; torch.version.cuda = None\n" + DECLARE
    code += "print(declare(), declare())\n"
    code += "print(*(hasattr(torch.ops.torchvision, name) for name in ('nms', 'qnms')))\n"
    code += "print(torch.ops.torchvision.nms.default._schema)"
    declared, there, schema = run(code).splitlines()
    assert declared == "('nms', 'qnms') ()"
    assert there == "True True"
    assert schema == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def test_only_the_missing_one_is_declared() -> None:
    code = WITH_OPERATORS + "torch.version.cuda = None\n" + DECLARE + "print(declare())"
    assert run(code) == "('qnms',)"


def test_operators_of_a_loaded_library_are_left_alone() -> None:
    code = WITH_OPERATORS + QNMS + "torch.version.cuda = None\n" + DECLARE + "print(declare())"
    assert run(code) == "()"


def test_nothing_is_declared_on_a_cuda_build() -> None:
    code = WITHOUT_TORCHVISION + "import torch; torch.version.cuda = '12.6'\n" + DECLARE
    code += "print(declare(), hasattr(torch.ops.torchvision, 'nms'))"
    assert run(code) == "() False"


def test_timm_can_be_imported_afterwards() -> None:
    code = DECLARE + "declare(); import timm; print(timm.is_model('vit_tiny_patch16_224'))"
    assert run(code) == "True"
