# SPDX-License-Identifier: Apache-2.0
"""The part of ``aocq doctor`` on matrix products: what the CPU has, rates by class, the choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.product_choice import Choice

# What instruction sets are called in LLVM, and by their makers; of those that multiply integers.
FEATURES = {
    "avx2": "AVX2",
    "avx512bw": "AVX-512",
    "avxvnni": "AVX-VNNI",
    "avx512vnni": "AVX512-VNNI",
    "avxvnniint8": "AVX-VNNI-INT8",
    "amx-int8": "AMX-INT8",
    "dotprod": "dot product (Arm)",
    "i8mm": "int8 matrices (Arm)",
}


def print_products(usable: Sequence[str]) -> None:
    """Measure the usual classes of products by all backends, keep the rates, and say what is taken.

    Torch is measured here where it is installed and the CPU may be fast with it: other commands
    measure it only where they have imported it anyway.
    """
    from simulator.numerics.jit import cpu_features
    from simulator.processor import processor_model
    from simulator.product_choice import choices_of_usual_classes, kept_rates
    from simulator.simd.product.forms import forms_here

    there = [name for feature, name in FEATURES.items() if cpu_features().get(feature)]
    print(f"{'processor':16} {processor_model()}")
    print(f"{'multiplies with':16} {', '.join(there) or 'nothing made for bytes'}")
    print(
        f"{'tiles of avx2':16} {', '.join(forms_here()) or 'none: they need AVX2 and a compiler'}"
    )
    choices = choices_of_usual_classes()
    kept = kept_rates().path
    print(f"{'rates kept in':16} {kept or 'nothing: no folder can be made, every run measures'}")
    if kept:
        print(f"{'':16} (remove it to measure again, best on a machine with nothing else to do)")
    names = list(dict.fromkeys(name for choice in choices for name in choice.rates))
    if not names:
        print("Products are not measured here: nothing is compiled.")
        return
    _print_table(choices, names)
    print(
        "Gop/s of whole ops (product, requantization, the way between) on one core, by classes of\n"
        "rows x terms x columns; < where the product alone says that it cannot be more; numba's\n"
        "plain loop is never the fastest, and not measured where there are tiles."
    )
    print(_summary(choices, usable))


def _print_table(choices: Sequence[Choice], names: Sequence[str]) -> None:
    print(f"\n{'products':58}" + "".join(f"{name:>8}" for name in names) + "  taken")
    for choice in choices:
        cells = []
        for name in names:
            rate = choice.rates.get(name)
            text = f"{'<' if rate.at_most else ''}{rate.gops:.0f}" if rate else "-"
            cells.append(f"{text:>8}")
        print(f"{choice.product_class!s:58}{''.join(cells)}  {choice.backend}")


def _summary(choices: Sequence[Choice], usable: Sequence[str]) -> str:
    """Return what is taken and why, in sentences."""
    from simulator.product_choice import MARGIN, WORTH_AN_IMPORT, may_try_torch

    taken = list(dict.fromkeys(choice.backend for choice in choices))
    lines = []
    for name in taken:
        count = sum(choice.backend == name for choice in choices)
        words = "all" if count == len(choices) else f"{count} of {len(choices)}"
        lines.append(f"--gemm auto takes {name} for {words} classes.")
    lines.append(
        f"Another backend is taken where it is {MARGIN} times as fast as the first of the table."
    )
    if "torch" in taken:
        lines.append(
            "A command that has not imported torch imports it where it saves "
            f"{WORTH_AN_IMPORT:.0%} of the time of a network's products."
        )
    elif "torch" in usable and may_try_torch():
        lines.append("Torch wins nowhere: no command imports it for products.")
    elif not may_try_torch():
        lines.append(
            "Torch is not measured: on x86 without VNNI and AMX its int8 product is far slower."
        )
    return "\n".join(lines)
