# SPDX-License-Identifier: Apache-2.0
"""The table of quantization methods.

A new method is one file, a row in ``METHOD_SPECS`` of :mod:`aocq.recipes.methods`, and its function
in ``_FUNCTIONS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from aocq.capture import FloatGraph
from aocq.methods import base_ptq, base_ptq_paper, fq_vit, ptq4vit
from aocq.methods.aocq import method as aocq_method
from aocq.methods.bias_room import with_room_for_biases
from aocq.methods.chip_operators import ChipOperators, exact_operators
from aocq.methods.least_scales import with_scales_for_functions
from aocq.methods.quantized_model import QuantizedModel
from aocq.recipes.limits import ANY_CHIP, ChipLimits
from aocq.recipes.methods import METHOD_SPECS, MethodSpec
from aocq.recipes.recipe import Recipe

Report = Callable[[int, int], None]  # (steps done, steps in all)


class Decide(Protocol):
    """The function of a method: see :meth:`Method.__call__`."""

    def __call__(
        self,
        graph: FloatGraph,
        images: Tensor,
        recipe: Recipe,
        limits: ChipLimits,
        on_progress: Report | None,
        *,
        device: str,
        work: Path | None,
        operators: ChipOperators,
    ) -> QuantizedModel:
        """Decide every scale and every integer weight."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A quantization method: what is known of it, and the function that decides."""

    spec: MethodSpec
    decide: Decide

    def __call__(
        self,
        graph: FloatGraph,
        images: Tensor,
        recipe: Recipe,
        limits: ChipLimits = ANY_CHIP,
        on_progress: Report | None = None,
        *,
        device: str = "cpu",
        work: Path | None = None,
        operators: ChipOperators = exact_operators,
    ) -> QuantizedModel:
        """Decide every scale and every integer weight, all of which chips can hold.

        Parameters
        ----------
        images
            preprocessed, float32 [count, channels, height, width]
        limits
            what the chip allows
        on_progress
            called with (steps done, steps in all) now and then
        device
            where torch computes, ``cpu`` or ``cuda``; only ``aocq`` heeds it
        work
            a folder where a method may keep finished parts, so that a calibration that was killed
            goes on with them: it belongs to these arguments alone, and is deleted by the caller
        operators
            the chip's own, where they are not exact; only ``aocq`` heeds them
        """
        model = self.decide(
            graph,
            images,
            recipe,
            limits,
            on_progress,
            device=device,
            work=work,
            operators=operators,
        )
        return with_room_for_biases(with_scales_for_functions(model))


Plain = Callable[[FloatGraph, Tensor, Recipe, ChipLimits, Report | None], QuantizedModel]


def _on_the_cpu(quantize: Plain) -> Decide:
    """Make a method of a function that computes on the CPU and keeps no finished parts."""

    @wraps(quantize)
    def decide(
        graph: FloatGraph,
        images: Tensor,
        recipe: Recipe,
        limits: ChipLimits,
        on_progress: Report | None,
        *,
        device: str,
        work: Path | None,
        operators: ChipOperators,
    ) -> QuantizedModel:
        del device, work, operators
        return quantize(graph, images, recipe, limits, on_progress)

    return decide


_FUNCTIONS: Mapping[str, Decide] = MappingProxyType(
    {
        "base_ptq": _on_the_cpu(base_ptq.quantize),
        "base_ptq_paper": _on_the_cpu(base_ptq_paper.quantize),
        "ptq4vit_paper": _on_the_cpu(ptq4vit.quantize_paper),
        "ptq4vit_released": _on_the_cpu(ptq4vit.quantize_released),
        "fq_vit": _on_the_cpu(fq_vit.quantize),
        "aocq": aocq_method.quantize,
    }
)
METHODS: Mapping[str, Method] = MappingProxyType(
    {name: Method(spec=spec, decide=_FUNCTIONS[name]) for name, spec in METHOD_SPECS.items()}
)
