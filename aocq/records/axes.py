# SPDX-License-Identifier: Apache-2.0
"""What designs are compared by: the axes of a front, and a run's figures on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aocq.records.run import ProofRecord, RegisterRecord, RunResult

SUM, PRODUCT = "accumulator", "matmul"  # of registers: the value, and in the names of kinds of ops


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A figure that designs are compared by.

    Attributes
    ----------
    title, unit
        in words; an empty unit of a bare number
    most
        whether more is better, else less is
    of_images
        whether it depends on the images, so that only runs on the same ones can be compared
    of_process
        whether it depends on the process that the chip is made in
    estimated
        by the cost model, not exact and not measured
    """

    title: str
    unit: str
    most: bool = False
    of_images: bool = False
    of_process: bool = False
    estimated: bool = False

    def loss(self, figure: float) -> float:
        """Return a figure so that less is better."""
        return -figure if self.most else figure


AXES: Mapping[str, Axis] = MappingProxyType(
    {
        "drop": Axis(title="drop, float to integer", unit="points", of_images=True),
        "agreement": Axis(title="agreement with float", unit="%", most=True, of_images=True),
        "sqnr_db": Axis(title="logit SQNR", unit="dB", most=True, of_images=True),
        "latency_ms": Axis(title="latency of one image", unit="ms", estimated=True),
        "energy_mj": Axis(title="energy of one image", unit="mJ", of_process=True, estimated=True),
        "weight_bytes": Axis(title="constants", unit="bytes"),
        "peak_sram_bytes": Axis(title="peak SRAM", unit="bytes", estimated=True),
        "accumulator_bits": Axis(title="accumulator", unit="bits"),
    }
)
DEFAULT_AXES = ("drop", "latency_ms", "weight_bytes")


def figures_of_run(result: RunResult) -> dict[str, float | None]:
    """Return a run's figure on every axis; None where its record has none.

    The SQNR of logits that are equal is infinite.
    """
    accuracy, energy = result.accuracy, result.energy_record
    sqnr = accuracy.logit_sqnr_db.integer_float
    return {
        "drop": accuracy.drop,
        "agreement": accuracy.agreement.integer_float,
        "sqnr_db": math.inf if sqnr is None else sqnr,
        "latency_ms": result.latency_ms,
        "energy_mj": None if energy is None else energy.total_mj,
        "weight_bytes": result.memory.weight_bytes,
        "peak_sram_bytes": result.memory.peak_sram_bytes,
        "accumulator_bits": outermost_register(result.proof),
    }


def outermost_register(proof: ProofRecord | None) -> int | None:
    """Return the bits of the widest register that a matrix product's sum ends in.

    Where an accumulator has several levels, that is the outermost. None where the record does not
    say: of older runs, and without products.
    """
    last: dict[str, RegisterRecord] = {}
    for register in proof.registers if proof else ():
        if register.value == SUM and PRODUCT in register.kind:
            before = last.get(register.op)
            if before is None or (register.level or 0) >= (before.level or 0):
                last[register.op] = register
    return max((int(register.type[1:]) for register in last.values()), default=None)
