# SPDX-License-Identifier: Apache-2.0
"""Where the oracles are, and what is missing.

Two of them are virtual environments, because their pins contradict ours and each other's; they are
in ``.oracles/`` of the repository, or where the variable ``AOCQ_ORACLES`` says, and ``make
oracles`` makes them (:mod:`install`). The others come from the system: Debian's ``iverilog``, and
``libgemmlowp-dev`` with a C++ compiler. QNNPACK is a part of PyTorch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

FOLDER_VARIABLE = "AOCQ_ORACLES"
REQUIRED_VARIABLE = "AOCQ_REQUIRE_ORACLES"
HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
GEMMLOWP_HEADER = Path("/usr/include/gemmlowp/fixedpoint/fixedpoint.h")


def folder() -> Path:
    """Return the folder of the virtual environments."""
    return Path(os.environ.get(FOLDER_VARIABLE) or REPOSITORY / ".oracles").absolute()


def python(environment: str) -> Path:
    """Return the interpreter of a virtual environment: ``lite`` or ``tosa``."""
    scripts = "Scripts" if os.name == "nt" else "bin"
    return folder() / environment / scripts / "python"


def _holds(environment: str, package: str) -> bool:
    # Not by importing it, which takes seconds.
    libraries = folder() / environment / "lib"
    return any(libraries.glob(f"python3*/site-packages/{package}/__init__.py"))


def _missing_package(environment: str, package: str, name: str) -> str | None:
    if python(environment).exists() and _holds(environment, package):
        return None
    return f"{name} is not in {folder() / environment}: run `make oracles`"


def _missing_verilog() -> str | None:
    if shutil.which("iverilog") and shutil.which("vvp"):
        return None
    return "Icarus Verilog is not installed: apt-get install iverilog"


def _missing_gemmlowp() -> str | None:
    if not GEMMLOWP_HEADER.exists():
        return f"{GEMMLOWP_HEADER} is missing: apt-get install libgemmlowp-dev"
    if not shutil.which("g++"):
        return "no C++ compiler: apt-get install g++"
    return None


def torch_engines() -> list[str]:
    """Return what PyTorch computes quantized operators with; what installs does not need it."""
    import torch

    engines: list[str] = torch.backends.quantized.supported_engines
    return engines


def _missing_qnnpack() -> str | None:
    if "qnnpack" in torch_engines():
        return None
    return "this build of PyTorch has no QNNPACK: install torch from the package registry"


# What keeps an oracle from running, or None.
MISSING: Mapping[str, Callable[[], str | None]] = MappingProxyType(
    {
        "lite": lambda: _missing_package("lite", "ai_edge_litert", "LiteRT"),
        "onnx": lambda: _missing_package("lite", "onnxruntime", "onnxruntime"),
        "tflm": lambda: (
            _missing_package("lite", "ai_edge_litert", "LiteRT")
            or _missing_package("lite", "tflite_micro", "tflite-micro")
        ),
        "tosa": lambda: _missing_package("tosa", "tosa_reference_model", "the TOSA model"),
        "verilog": _missing_verilog,
        "gemmlowp": _missing_gemmlowp,
        "qnnpack": _missing_qnnpack,
    }
)


def required() -> bool:
    """Say whether a missing oracle is a failure, as it is where every check must have run."""
    return os.environ.get(REQUIRED_VARIABLE, "") not in ("", "0")
