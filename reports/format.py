# SPDX-License-Identifier: Apache-2.0
"""The text of numbers and names in every report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aocq.records.run import DataRecord, WidthsRecord
from simulator import sizes
from simulator.settings import typed

kib = sizes.kib
MISSING = "—"
# The words of overflow counts, for legends; the definitions are those of SumCounts.
PERSISTENT = "results of which a completed sum did not fit its register"
TRANSIENT = "of which only a partial sum did not"
CHANGED = "whose sum is not the exact one"
NO_NOISE = "no noise"  # the SQNR of two tensors that are equal


def percent(value: float) -> str:
    """Write a percentage: ``81.25 %``."""
    return f"{value:.2f} %"


def signed(value: float | None) -> str:
    """Write a difference with its sign: ``+0.25``, ``-12.50``, ``0.00``; a dash for None."""
    if value is None:
        return MISSING
    text = f"{value:+.2f}"
    return text[1:] if float(text) == 0 else text


def count(value: int) -> str:
    """Write a whole number with thousands separators: ``1,234,567``."""
    return f"{value:,}"


def decibel(value: float | None, missing: str = MISSING) -> str:
    """Write an SQNR: ``12.35 dB``; ``missing`` for None."""
    return missing if value is None else f"{value:.2f} dB"


def share(part: int, whole: int) -> str:
    """Write a part of a whole in percent; a small part that is not zero never reads 0.00 %."""
    if not whole:
        return MISSING
    if part and part / whole < 0.00005:
        return "< 0.01 %"
    return percent(100 * part / whole)


def plural(number: int, noun: str) -> str:
    """Write a counted noun: ``1 event``, ``2 events``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def convention(widths: WidthsRecord) -> str:
    """Write what a width of activations means in a run: ``operands 4 bits, vector unit 8 bits``."""
    told = {
        "operands": widths.operands,
        "probabilities": None if widths.probabilities == widths.operands else widths.probabilities,
        "vector unit": widths.vector,
        "stream": widths.stream,
        "ends": widths.ends,
        "result": widths.result,
    }
    return ", ".join(f"{name} {bits} bits" for name, bits in told.items() if bits is not None)


def named(model: str, arguments: Mapping[str, Any]) -> str:
    """Write a network's name and, in brackets, the constructor's arguments beside it."""
    return f"{model} ({typed(arguments)})" if arguments else model


def evaluated(images: int, data: DataRecord | None) -> str:
    """Write number and source of the images: ``400 images of val, 10 classes``."""
    number = plural(images, "image")
    return f"{number} of {data.name}, {classes(data.classes)}" if data else number


def classes(number: int) -> str:
    """Write a number of classes: ``1 class``, ``10 classes``."""
    return f"{count(number)} class{'' if number == 1 else 'es'}"


def brief(value: int | None) -> str:
    """Write a whole number in at most five digits: ``12,345``, ``1.23 M``; a dash for None."""
    if value is None:
        return MISSING
    if value < 100_000:
        return count(value)
    size, unit = next(
        (size, unit)
        for size, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))
        if value < 999.5 * size or unit == "T"
    )
    return f"{value / size:.3g} {unit}"


def policy_note(policy: str | None) -> str:
    """Return a note where the policies of a run only count overflow; empty if none does."""
    named = (policy or "").split(", ")
    if "report" not in named:
        return ""
    where = "" if len(named) == 1 else " in some ops"
    return f"policy report{where}: counted only, sums stay exact"
