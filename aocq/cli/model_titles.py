# SPDX-License-Identifier: Apache-2.0
"""What figures call a quantized model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aocq.methods import QuantizedModel


def network(model: QuantizedModel) -> str:
    """Return the network's name and what it is built with that the name does not say."""
    from reports.format import named
    from simulator.graph.meta import meta_of

    meta = meta_of(model.meta, model.graph.name)
    return named(model.graph.name, meta.model_arguments if meta else {})
