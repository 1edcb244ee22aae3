# SPDX-License-Identifier: Apache-2.0
"""Where the oracles are, and what is missing.

Six of them are virtual environments: ``lite``, ``tosa`` and ``scalesim``, whose pins contradict
ours and each other's, ``rtl``, which holds Verilator and cocotb, ``vela``, Arm's compiler, and
``gradcam``, which holds pytorch-grad-cam and a torch of its own. They
are in ``.oracles/`` of the repository, or where the variable ``AOCQ_ORACLES`` says, and ``make
oracles`` makes them (:mod:`install`). The others come from the system: Debian's ``iverilog``,
``yosys`` and ``chromium``, a C and a C++ compiler, and ``libgemmlowp-dev``. QNNPACK is a part of
PyTorch.
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
    """Return the interpreter of a virtual environment: a key of ``REQUIREMENTS``."""
    scripts = "Scripts" if os.name == "nt" else "bin"
    return folder() / environment / scripts / "python"


def package_folder(environment: str, package: str) -> Path | None:
    """Return the folder of an installed package, or None; importing it would take seconds."""
    libraries = folder() / environment / "lib"
    found = sorted(libraries.glob(f"python3*/site-packages/{package}/__init__.py"))
    return found[0].parent if found else None


def _missing_package(environment: str, package: str, name: str) -> str | None:
    if python(environment).exists() and package_folder(environment, package):
        return None
    return f"{name} is not in {folder() / environment}: run `make oracles`"


def _missing_vela() -> str | None:
    found = python("vela").exists() and list((folder() / "vela").glob("lib/*/site-packages/ethosu"))
    return None if found else f"Vela is not in {folder() / 'vela'}: run `make oracles`"


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


def _missing_commands(package: str, *commands: str) -> str | None:
    missing = [command for command in commands if not shutil.which(command)]
    if not missing:
        return None
    return f"{' and '.join(missing)} is not installed: apt-get install {package}"


def _missing_verilator() -> str | None:
    return (
        _missing_commands("perl make g++", "perl", "make", "g++")  # what a build with it runs
        or _missing_package("rtl", "verilator", "Verilator")
    )


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
        "scale_sim": lambda: _missing_package("scalesim", "scalesim", "SCALE-Sim"),
        "vela": _missing_vela,
        "grad_cam": lambda: _missing_package("gradcam", "pytorch_grad_cam", "pytorch-grad-cam"),
        "verilog": _missing_verilog,
        "iverilog": _missing_verilog,
        "verilator": _missing_verilator,
        "cocotb": lambda: _missing_verilator() or _missing_package("rtl", "cocotb", "cocotb"),
        "yosys": lambda: _missing_commands("yosys", "yosys"),
        "cc": lambda: _missing_commands("gcc", "gcc"),
        "chromium": lambda: _missing_commands("chromium", "chromium"),
        "gemmlowp": _missing_gemmlowp,
        "qnnpack": _missing_qnnpack,
    }
)


def required() -> bool:
    """Say whether a missing oracle is a failure, as it is where every check must have run."""
    return os.environ.get(REQUIRED_VARIABLE, "") not in ("", "0")
