# SPDX-License-Identifier: Apache-2.0
"""Energies of a chip's actions, and what a reader must know beside its figures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simulator.profile.section import Section

Picojoules = Annotated[float, Field(ge=0, le=1e9)]


class MacEnergy(Section):
    """Energy of one multiply-accumulate whose operands are at most so wide."""

    a_bits: Annotated[int, Field(ge=1, le=64)]
    b_bits: Annotated[int, Field(ge=1, le=64)]
    pj: Picojoules


class EnergySection(Section):
    """Picojoules of each kind of action; ``[source]`` says where they come from.

    Attributes
    ----------
    node_nm
        feature size of the process that the figures are about
    mac
        one multiply-accumulate, by width of its operands; the narrowest entry that holds both is
        taken
    float16_mac
        the same in float16, for the comparison; absent where it is not known
    vector_element
        one element of one pass of the vector unit
    sram_byte, dram_byte
        one byte read or written
    leakage_per_cycle
        of the whole chip, whether it works or waits; absent where it is not known, and then not
        counted
    """

    node_nm: Annotated[float, Field(gt=0, le=10_000)]
    mac: Annotated[tuple[MacEnergy, ...], Field(strict=False, min_length=1)]
    float16_mac: Picojoules | None = None
    vector_element: Picojoules
    sram_byte: Picojoules
    dram_byte: Picojoules
    leakage_per_cycle: Picojoules | None = None


class CaveatSection(Section):
    """What a reader must know beside a figure of an estimate, e.g. who estimates otherwise.

    ``about`` is the figure that it stands beside: the whole latency, the cycles of a kind of op,
    memory, energy or accuracy.
    """

    about: Literal[
        "latency", "linear", "matmul", "softmax", "layernorm", "layout", "memory", "energy",
        "accuracy",
    ]  # fmt: skip
    text: Annotated[str, Field(min_length=1, max_length=1000)]
