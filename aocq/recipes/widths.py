# SPDX-License-Identifier: Apache-2.0
"""Widths of weights and activations that a chip does not have; told without torch."""

from __future__ import annotations

from simulator.profile import NpuProfile, advice_to_choose

# Of pixels, which every array reads, and of logits, whose order few codes could not tell.
LEAST_END_BITS = 8


def missing_widths(
    profile: NpuProfile,
    weight_bits: int,
    activation_bits: int,
    end_bits: int | None,
    *,
    leaves_floats: bool,
) -> dict[str, str]:
    """Return which widths a profile lacks, and what to choose instead.

    Parameters
    ----------
    weight_bits, activation_bits, end_bits
        of a recipe
    leaves_floats
        whether operators are left in float: between these a chip only stores codes, and narrow
        ones fit, for nothing is rescaled
    """
    found = {}
    able = " or ".join(map(str, profile.weight.bits))
    for option, wanted in (("--w-bits", weight_bits), ("--end-bits", end_bits)):
        if wanted is not None and wanted not in profile.weight.bits:
            problem = f"weight.bits = {profile.weight.bits} has no {wanted}"
            found[problem] = f" (choose {option} {able})"
    bits = profile.activation.operand_width
    key = "bits" if profile.activation.operand_bits is None else "operand_bits"
    problem = f"activation.{key} = {bits}, the model has {activation_bits}"
    if leaves_floats and activation_bits > bits:
        found[problem] = f" (choose --a-bits {bits})"
    if not leaves_floats and activation_bits != bits:
        others = advice_to_choose(
            lambda chip: (
                chip.activation.operand_width == activation_bits and weight_bits in chip.weight.bits
            )
        )
        found[problem] = (
            f" (choose --a-bits {bits}{others}; or a method that leaves operators in float, with "
            "--float-ops declared)"
        )
    ends = {bits, max(profile.activation.bits, LEAST_END_BITS)}
    if end_bits is not None and not leaves_floats and end_bits not in ends:
        able = " or ".join(map(str, sorted(ends)))
        problem = f"products read operands of {able} bits, the model's ends have {end_bits}"
        found[problem] = " (choose one of these as --end-bits, or leave it out)"
    return found
