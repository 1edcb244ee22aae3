# SPDX-License-Identifier: Apache-2.0
"""Widths of weights and activations that a chip does not have; told without torch."""

from __future__ import annotations

from simulator.profile import NpuProfile


def missing_widths(
    profile: NpuProfile, weight_bits: int, activation_bits: int, *, leaves_floats: bool
) -> dict[str, str]:
    """Return which widths a profile lacks, and what to choose instead.

    Parameters
    ----------
    leaves_floats
        whether operators are left in float: between these a chip only stores codes, and narrow
        ones fit, for nothing is rescaled
    """
    found = {}
    if weight_bits not in profile.weight.bits:
        able = " or ".join(map(str, profile.weight.bits))
        problem = f"weight.bits = {profile.weight.bits} has no {weight_bits}"
        found[problem] = f" (choose --w-bits {able})"
    bits = profile.activation.bits
    problem = f"activation.bits = {bits}, the model has {activation_bits}"
    if leaves_floats and activation_bits > bits:
        found[problem] = f" (choose --a-bits {bits})"
    if not leaves_floats and activation_bits != bits:
        found[problem] = (
            f" (choose --a-bits {bits}; other widths take a method that leaves operators in float, "
            "with --float-ops declared)"
        )
    return found
