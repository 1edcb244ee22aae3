# SPDX-License-Identifier: Apache-2.0
"""Lowering of a quantized network to the integer graph of a hardware profile."""

from aocq.lowering.errors import LoweringError
from aocq.lowering.lower import check_recipe, lower

__all__ = ["LoweringError", "check_recipe", "lower"]
