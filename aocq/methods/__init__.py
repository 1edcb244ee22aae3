# SPDX-License-Identifier: Apache-2.0
"""Quantization methods: each turns a FloatGraph and images into a QuantizedModel.

Scales and quantizers need no torch; the methods do. Their table is imported when it is first asked
for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aocq.methods.quantized_model import QuantizedModel
    from aocq.methods.table import METHODS, Method

__all__ = ["METHODS", "Method", "QuantizedModel"]


def __getattr__(name: str) -> Any:
    """Import a name of ``__all__`` when it is first asked for."""
    if name == "QuantizedModel":
        from aocq.methods.quantized_model import QuantizedModel

        return QuantizedModel
    if name in {"METHODS", "Method"}:
        from aocq.methods import table

        return getattr(table, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
