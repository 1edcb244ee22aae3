# SPDX-License-Identifier: Apache-2.0
"""Integer weights of a layer while they are being learned by back-propagation.

Two forms: codes that are rounded straight through, with row scales and a bias that move along; or
AdaRound's (Nagel et al., arXiv 2004.10568), rounding directions between the two nearest codes,
under frozen scales. Both start from the values that the closed form rounded, so that its error
correction is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from aocq.capture import FloatNode
from aocq.methods.aocq.narrow_sums import register_of, within
from aocq.methods.aocq.rounding import FakeQuantizedNetwork, LayerResult, RoundedBlock
from aocq.methods.quantizers import QuantizedWeight
from aocq.methods.scale_form import ScaleForm
from simulator.numerics.integer_type import IntType

# Of AdaRound: how far beyond 0 and 1 its sigmoid reaches, the share of the steps before its
# regularizer sets in, and the regularizer's exponent at both ends.
STRETCH = 1.2
WARM_UP = 0.2
EXPONENTS = (20.0, 2.0)
# Learning rates: of codes, in codes; of scales and of biases, relative to their size.
CODES_RATE, SCALES_RATE, BIASES_RATE = 1.2e-2, 1e-3, 3e-3
# The codes' start lies so far within the interval that rounds to it, at least.
MARGIN = 1e-3


class LearnedWeight(Protocol):
    """What is learned of a layer."""

    def groups(self) -> list[dict[str, object]]:
        """Return what an optimizer changes, with learning rates."""
        ...

    def weight(self) -> Tensor:
        """Return the real weights [N, K], differentiable."""
        ...

    def bias(self) -> Tensor | None:
        """Return the bias [N], if it is learned."""
        ...

    def penalty(self, progress: float, /) -> Tensor:
        """Return what draws weights to codes, 0 where all are; ``progress`` is 0..1."""
        ...

    def result(self) -> LayerResult:
        """Return the layer in integers, as it is now."""
        ...


@dataclass(slots=True)
class StraightThroughWeight:
    """Codes, factors on the row scales, and the bias.

    Attributes
    ----------
    sought
        values [N, K] that are rounded to codes
    growth
        logarithms of factors on the row scales, [N] or [1]
    shift
        of the bias, [N], in ``unit``; None: it stays
    """

    before: LayerResult
    form: ScaleForm
    sought: Tensor
    growth: Tensor
    shift: Tensor | None
    unit: Tensor
    scale: Tensor
    alpha: Tensor
    int_type: IntType

    @classmethod
    def of(cls, before: LayerResult, form: ScaleForm, unit: Tensor) -> StraightThroughWeight:
        """Start with a layer's codes; ``unit`` [N] is the deviation of its results."""
        codes = torch.from_numpy(before.weight.codes).to(unit)
        offset = (before.sought.to(codes) - codes).clamp(MARGIN - 0.5, 0.5 - MARGIN)
        int_type = IntType(bits=before.weight.bits)
        # Beyond the range, nothing would ever move them.
        sought = (codes + offset).clamp(int_type.low, int_type.high)
        scale = torch.from_numpy(before.weight.scale).to(unit)
        return cls(
            before=before,
            form=form,
            sought=sought.requires_grad_(),
            growth=torch.zeros_like(scale).requires_grad_(not form.power_of_two),
            shift=None if before.bias is None else torch.zeros_like(unit).requires_grad_(),
            unit=unit,
            scale=scale,
            alpha=torch.tensor(before.weight.alpha or (1.0,), dtype=unit.dtype).to(unit),
            int_type=int_type,
        )

    def groups(self) -> list[dict[str, object]]:
        """Return what an optimizer changes, with learning rates."""
        groups: list[dict[str, object]] = [{"params": [self.sought], "lr": CODES_RATE}]
        if self.growth.requires_grad:
            groups.append({"params": [self.growth], "lr": SCALES_RATE})
        if self.shift is not None:
            groups.append({"params": [self.shift], "lr": BIASES_RATE})
        return groups

    def codes(self) -> Tensor:
        """Return the codes, whole numbers [N, K]; 0 for what is not a number."""
        return (
            self.sought.detach()
            .nan_to_num(0.0)
            .round()
            .clamp(self.int_type.low, self.int_type.high)
        )

    def weight(self) -> Tensor:
        """Return the real weights; rounding has the derivative of the identity."""
        held = self.sought.clamp(self.int_type.low, self.int_type.high)
        held = held + (self.codes() - held.detach())
        return held * (self.scale * self.growth.exp())[:, None] / self.alpha

    def bias(self) -> Tensor | None:
        """Return the bias."""
        if self.shift is None or self.before.bias is None:
            return None
        return self.before.bias.to(self.unit) + self.shift * self.unit

    def penalty(self, _: float) -> Tensor:
        """Return 0: the weights are codes at any time."""
        return torch.zeros((), device=self.sought.device)

    def result(self) -> LayerResult:
        """Return the layer in integers."""
        before, bias = self.before, self.bias()
        scale = before.weight.scale
        if self.growth.requires_grad:
            factors = self.growth.detach().double().exp().cpu().numpy()
            scale = self.form.nearest(scale * factors)
        weight = QuantizedWeight(
            bits=before.weight.bits,
            codes=self.codes().cpu().numpy().astype(np.int8),
            scale=scale,
            alpha=before.weight.alpha,
        )
        learned = before.bias if bias is None else bias.detach().cpu()
        return LayerResult(weight, learned, self.sought.detach().double().cpu())


@dataclass(slots=True)
class SoftWeight:
    """Rounding directions: ``floor(w / s) + h``, ``h = clip(1.2 sigmoid(V) - 0.1, 0, 1)``.

    Shapes [N, K], scales [N, 1].
    """

    before: LayerResult
    rate: float
    floor: Tensor
    direction: Tensor
    scale: Tensor
    alpha: Tensor
    int_type: IntType

    @classmethod
    def of(cls, before: LayerResult, rate: float, device: torch.device) -> SoftWeight:
        """Return the start of a layer: ``h`` is the fraction that the closed form rounded."""
        sought = before.sought.float().to(device)
        floor = torch.floor(sought)
        share = ((sought - floor + (STRETCH - 1) / 2) / STRETCH).clamp(1e-4, 1 - 1e-4)
        return cls(
            before=before,
            rate=rate,
            floor=floor,
            direction=torch.logit(share).requires_grad_(),
            scale=torch.from_numpy(before.weight.scale).float()[:, None].to(sought),
            alpha=torch.tensor(before.weight.alpha or (1.0,), dtype=torch.float32).to(sought),
            int_type=IntType(bits=before.weight.bits),
        )

    def groups(self) -> list[dict[str, object]]:
        """Return what an optimizer changes, with learning rates."""
        return [{"params": [self.direction], "lr": self.rate}]

    def up(self) -> Tensor:
        """Return h: how far each weight is rounded up, 0..1."""
        stretched = torch.sigmoid(self.direction) * STRETCH - (STRETCH - 1) / 2
        return stretched.clamp(0, 1)

    def codes(self, up: Tensor) -> Tensor:
        """Return the codes for given directions; whole numbers where these are 0 or 1."""
        return torch.clamp(self.floor + up, self.int_type.low, self.int_type.high)

    def weight(self) -> Tensor:
        """Return the real weights."""
        return self.codes(self.up()) * self.scale / self.alpha

    def bias(self) -> Tensor | None:
        """Return none: it is not learned."""
        return None

    def penalty(self, progress: float, /) -> Tensor:
        """Return the sum of ``1 - |2h - 1|^β``: 0 where all directions are decided."""
        if progress < WARM_UP:
            return torch.zeros((), device=self.floor.device)
        share = (progress - WARM_UP) / (1 - WARM_UP)
        beta = EXPONENTS[0] + (EXPONENTS[1] - EXPONENTS[0]) * share
        return (1 - (2 * self.up() - 1).abs() ** beta).sum()

    def result(self) -> LayerResult:
        """Return the layer in integers."""
        before = self.before
        codes = self.codes((self.up().detach() >= 0.5).float())
        weight = QuantizedWeight(
            bits=before.weight.bits,
            codes=codes.cpu().numpy().astype(np.int8),
            scale=before.weight.scale,
            alpha=before.weight.alpha,
        )
        return LayerResult(weight, before.bias, before.sought)


def within_registers(
    network: FakeQuantizedNetwork, nodes: Iterable[FloatNode], found: RoundedBlock
) -> RoundedBlock:
    """Return what was learned of the layers ``nodes`` with codes whose sums cannot overflow.

    Those of a whole layer are what they were wherever they fit.
    """
    graph, quantizers = network.graph, {**network.quantizers, **found.quantizers}
    layers = dict(found.layers)
    for node in nodes:
        register = register_of(graph, node, quantizers, network.limits.sum_bits)
        if register is None:
            continue
        result, name = layers[node.name], node.attributes["bias"]
        bias = result.bias
        if bias is None:
            bias = graph.parameters[name].cpu() if name else torch.zeros(node.shape[-1])
        layers[node.name] = replace(result, weight=within(register, result.weight, bias))
    return replace(found, layers=layers)
