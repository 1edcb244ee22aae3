# SPDX-License-Identifier: Apache-2.0
"""Widths of weights and activations that a chip does not have; told without torch."""

from __future__ import annotations

from aocq.recipes.layer_rules import LayerRules
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
    ends = _plain_widths(profile)
    if end_bits is not None and not leaves_floats and end_bits not in ends:
        able = " or ".join(map(str, sorted(ends)))
        problem = f"products read operands of {able} bits, the model's ends have {end_bits}"
        found[problem] = " (choose one of these as --end-bits, or leave it out)"
    return found


def _plain_widths(profile: NpuProfile) -> frozenset[int]:
    """Return the operands that an array reads whatever its passes: the chip's own, and pixels."""
    bits = max(profile.activation.bits, LEAST_END_BITS)
    return frozenset({profile.activation.operand_width, bits})


def readable_widths(profile: NpuProfile) -> tuple[int, ...]:
    """Return the widths of activations that a chip's products read, in order.

    Its own (``activation.operand_bits`` or ``activation.bits``), that of pixels, and those of which
    the profile says how fast the array is with them: ``a_bits`` of ``compute.engine.widths``.
    """
    stated = {width.a_bits for width in profile.compute.engine.widths or ()}
    return tuple(sorted(_plain_widths(profile) | stated))


def reads(profile: NpuProfile, a_bits: int, b_bits: int) -> bool:
    """Return whether a chip's products read a left and a right operand of these widths."""
    if max(a_bits, b_bits) <= max(_plain_widths(profile)):
        return True
    stated = profile.compute.engine.widths or ()
    return any(a_bits <= width.a_bits and b_bits <= width.b_bits for width in stated)


def missing_layer_widths(
    profile: NpuProfile, layers: LayerRules, *, leaves_floats: bool
) -> dict[str, str]:
    """Return which widths of rules for single layers a profile lacks, and what to choose instead.

    Parameters
    ----------
    leaves_floats
        whether operators are left in float, see :func:`missing_widths`
    """
    found = {}
    for pattern, bits in layers.values_of("w").items():
        if bits not in profile.weight.bits:
            able = " or ".join(map(str, profile.weight.bits))
            problem = f'weight.bits = {profile.weight.bits}, layers."{pattern}".w is {bits}'
            found[problem] = f" (choose {able}{_chips_with_weights(bits)})"
    readable = readable_widths(profile)
    for pattern, bits in layers.values_of("a").items():
        if bits > max(readable) if leaves_floats else bits not in readable:
            able = " or ".join(map(str, readable))
            problem = (
                f"products read operands of {able} bits (activation, a_bits of "
                f'compute.engine.widths), layers."{pattern}".a is {bits}'
            )
            others = _chips_that_read(bits)
            found[problem] = f" (choose {able}{others})"
    return found


def _chips_with_weights(bits: int) -> str:
    return advice_to_choose(lambda chip: bits in chip.weight.bits)


def _chips_that_read(bits: int) -> str:
    return advice_to_choose(lambda chip: bits in readable_widths(chip))
