# SPDX-License-Identifier: Apache-2.0
"""QuantizedModel + NpuProfile → IntGraph."""

from aocq.lowering.lower import check_recipe, lower

__all__ = ["check_recipe", "lower"]
