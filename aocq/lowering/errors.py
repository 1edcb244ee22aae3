# SPDX-License-Identifier: Apache-2.0
"""The error of lowering: a network that a profile's integer graph cannot express."""

from __future__ import annotations

from simulator.errors import InputError

WAY_OUT = "choose another profile, or a network of docs/families.md"


class LoweringError(InputError):
    """A quantized network that cannot become an integer graph for a profile (exit code 3).

    Parameters
    ----------
    network, profile
        their names
    plainly
        what cannot be lowered and where; kept without names and advice for tables of networks
    way_out
        what the user can do
    """

    def __init__(self, network: str, profile: str, plainly: str, way_out: str = WAY_OUT) -> None:
        self.plainly = f"cannot be lowered: {plainly}"
        super().__init__(f"{network} on profile {profile}: {self.plainly}; {way_out}")
