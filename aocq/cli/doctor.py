# SPDX-License-Identifier: Apache-2.0
"""``aocq doctor``: what this machine has, and whether it works."""

from __future__ import annotations

import typer

from aocq.cli.doctor_products import print_products


def command() -> None:
    """Check the installation: versions, torchvision, kernel cache, threads, matrix products.

    Products are measured by all backends and classes of size, and the rates kept for other
    commands, which choose by them. Exit code 4 if something needed does not work.
    """
    from importlib.metadata import PackageNotFoundError, version
    from platform import machine, python_version

    import simulator
    from simulator.config import default_threads
    from simulator.errors import EnvironmentProblem
    from simulator.gemm import BACKENDS, PROBE_OPERATIONS, backend, seconds_of_a_product
    from simulator.numerics.jit import kernel_cache_folder

    print(f"{'python':16} {python_version()} on {machine()}")
    for package in ("aocq", "torch", "torchvision", "timm", "numba", "numpy"):
        try:
            print(f"{package:16} {version(package)}")
        except PackageNotFoundError:
            print(f"{package:16} not installed")
    try:
        _print_torch()
    except ModuleNotFoundError:  # what only runs graphs needs no torch
        print(f"{'networks':16} cannot be quantized here: pip install 'aocq[quantize]'")
    print(f"{'simulator':16} {simulator.__path__[0]}")
    print(f"{'kernel cache':16} {kernel_cache_folder() or 'none: no folder can be made'}")
    print(f"{'threads':16} {default_threads()}")
    works: dict[str, str] = {}
    for name in BACKENDS:
        try:
            speed = PROBE_OPERATIONS / seconds_of_a_product(backend(name)) / 1e9
            works[name] = f"exact, {speed:.0f} Gop/s on one core"
        except EnvironmentProblem as problem:
            print(f"{'gemm ' + name:16} {problem}")
    for name, text in works.items():
        print(f"{'gemm ' + name:16} {text}")
    if not works:
        raise typer.Exit(EnvironmentProblem.exit_code)
    print_products(list(works))


def _print_torch() -> None:
    """Print what makes torch fit torchvision, and that the bundled network loads."""
    from aocq.zoo.torchvision_compat import declare_missing_operators

    declared = declare_missing_operators()  # before timm, whose import may fail without
    from aocq.zoo.models import load_model

    told = f"declared here: {', '.join(declared)}" if declared else "own"
    print(f"{'torchvision ops':16} {told}")
    model = load_model("vit_nano_digits")
    print(f"{'bundled model':16} {model.name}, {model.parameters:,} parameters")
