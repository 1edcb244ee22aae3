# SPDX-License-Identifier: Apache-2.0
"""QuantizedModel + NpuProfile → IntGraph."""

from aocq.lowering.lower import lower

__all__ = ["lower"]
