# SPDX-License-Identifier: Apache-2.0
"""What no input can overflow, register by register, and of the rest the input that comes closest.

- :mod:`simulator.proof.registers`: the register that each value inside an op has
- :mod:`simulator.proof.prove`: each value's bound held against its register
- :mod:`simulator.proof.sums`: which column of weights makes the largest sums, and of what
- :mod:`simulator.proof.nearest`: inputs that come closest to a bound, and what they attain
- :mod:`simulator.proof.certificate`: all of it as a file that a reviewer can recompute
"""

from simulator.proof.certificate import certificate
from simulator.proof.nearest import Nearest, nearest_input
from simulator.proof.prove import ValueProof, prove, unproven
from simulator.proof.registers import Register, StatedBy, Widths

__all__ = [
    "Nearest",
    "Register",
    "StatedBy",
    "ValueProof",
    "Widths",
    "certificate",
    "nearest_input",
    "prove",
    "unproven",
]
