# SPDX-License-Identifier: Apache-2.0
"""Rounding of weights in closed form: column after column, with corrections of the others.

GPTQ's rounding (Frantar et al., arXiv 2210.17323) on the second moments of the layer's *quantized*
inputs, weighted by token; then the row scales and the bias of least output error for the codes.
A regression of the weights onto the float outputs before rounding, as in ERQ (arXiv 2407.06794),
is left out: inputs that carry quantization noise make it shrink the weights, and it cost 2 dB and
more of the logits (docs/accuracy.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aocq.methods.aocq.column_kernels import descend_block, round_block
from aocq.methods.code_kernels import squared_errors
from aocq.methods.ranges import SHRINK, row_magnitudes
from aocq.methods.scale_form import ANY_SCALE, ScaleForm
from simulator.numerics.integer_type import IntType

# Damping, as a share of the mean diagonal of the second moments.
DAMPING = 0.01
ATTEMPTS = 30  # of an inverse, each with ten times the damping of the one before
COLUMNS_AT_ONCE = 64
COLUMNS_OF_A_PRODUCT = 256
# Of moments that were summed up in float32, relative.
PRECISION = 1e-5


@dataclass(slots=True)
class Moments:
    """Weighted second moments of a layer's inputs, and the sum of its targets, float64.

    Attributes
    ----------
    inputs
        Σ w x xᵀ with a 1 appended to x for the bias, [K + 1, K + 1]
    targets
        Σ w y, [N]
    reach
        largest ``|y|``, [N]
    """

    inputs: Tensor
    targets: Tensor
    reach: Tensor

    @classmethod
    def empty(cls, outputs: int, inputs: int) -> Moments:
        """Return zeros for a layer [outputs, inputs]."""
        return cls(
            torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64),
            torch.zeros(outputs, dtype=torch.float64),
            torch.zeros(outputs, dtype=torch.float64),
        )

    def add(self, x: Tensor, y: Tensor, weights: Tensor) -> None:
        """Add tokens: ``x`` [tokens, K], ``y`` [tokens, N], ``weights`` [tokens, 1]."""
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        weighted = x * weights
        # Kept on the CPU, wherever the tokens are.
        self.inputs += _symmetric_product(weighted, x).double().cpu()
        self.targets += (y * weights).sum(0).double().cpu()
        self.reach = torch.maximum(self.reach, y.abs().amax(0).double().cpu())

    def join(self, other: Moments) -> None:
        """Add the moments of other tokens."""
        self.inputs += other.inputs
        self.targets += other.targets
        self.reach = torch.maximum(self.reach, other.reach)


def _symmetric_product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``aᵀ b`` [K, K], which is known to be symmetric: the blocks below are those above."""
    size = a.shape[1]
    product = a.new_empty(size, size)
    for start in range(0, size, COLUMNS_OF_A_PRODUCT):
        stop = min(start + COLUMNS_OF_A_PRODUCT, size)
        torch.mm(a[:, start:stop].T, b[:, start:], out=product[start:stop, start:])
        product[stop:, start:stop] = product[start:stop, stop:].T
    return product


def centred(moments: Moments) -> Tensor:
    """Return the inputs' second moments about their mean, [K, K]: the bias takes up the mean."""
    total, mean = moments.inputs[-1, -1], moments.inputs[-1, :-1]
    plain = moments.inputs[:-1, :-1]
    return regular(plain - torch.outer(mean, mean) / total, plain.diagonal())


def regular(moments: Tensor, power: Tensor | None = None) -> Tensor:
    """Return second moments [K, K] with a little added to the diagonal.

    Sums in float32 are no more precise than that share of the inputs' ``power`` [K] (the moments'
    own diagonal, if it is not given), and moments of a single token would have no positive ones.
    """
    power = moments.diagonal() if power is None else power
    return moments + PRECISION * power.mean() * torch.eye(len(moments), dtype=moments.dtype)


def row_scales(
    weight: Tensor, importance: Tensor, bits: int, form: ScaleForm = ANY_SCALE
) -> Tensor:
    """Return the scale of least error of each row, [N]; ``importance`` [K] weighs the columns."""
    int_type = IntType(bits=bits)
    full = torch.from_numpy(row_magnitudes(weight.numpy())).to(weight) / int_type.high
    best, least = form.nearest(full), torch.full_like(full, float("inf"))
    rows, factors = weight.contiguous().numpy(), importance.contiguous().numpy()
    low, high = float(int_type.low), float(int_type.high)
    buffer = torch.empty_like(weight)  # one for all scales: new ones would take most of the time
    for scale in form.candidates(full, SHRINK):
        squared_errors(rows, scale.numpy(), low, high, factors, buffer.numpy())
        error = buffer.sum(dim=1, keepdim=True)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best[:, 0]


def damp(moments: Tensor) -> Tensor:
    """Return second moments [K, K] damped: a share of their mean diagonal is added to it.

    It decides about inputs that hardly ever occur, and lets matrices without full rank be inverted.
    """
    share = DAMPING * moments.diagonal().mean() + 1e-12
    return moments + torch.eye(len(moments), dtype=moments.dtype) * share


def round_columns(
    weight: Tensor, moments: Tensor, scales: Tensor, bits: int
) -> tuple[Tensor, Tensor]:
    """Round ``weight`` [N, K] to codes, spreading each column's error over those still open.

    Parameters
    ----------
    moments
        second moments of the inputs, [K, K]
    scales
        of the rows, [N]

    Returns
    -------
    codes, sought
        whole numbers [N, K], and the values (in codes) that were rounded to them
    """
    damped = damp(moments)
    # Columns that matter most come first, while there are others left to correct them.
    order = torch.argsort(damped.diagonal(), descending=True)
    factor = _inverse_factor(damped[order][:, order])
    # A column of weights is a row here, so that it lies in one piece.
    work = weight[:, order].double().T.contiguous()
    codes, sought = torch.zeros_like(work), torch.zeros_like(work)
    int_type = IntType(bits=bits)
    for block in _blocks(len(work)):
        errors = torch.zeros_like(work[block])
        round_block(
            *(tensor.numpy() for tensor in (work[block], codes[block], sought[block], errors)),
            factor[block, block].contiguous().numpy(),
            scales.double().contiguous().numpy(),
            float(int_type.low),
            float(int_type.high),
        )
        work[block.stop :] -= factor[block, block.stop :].T @ errors
    back = torch.argsort(order)
    return codes[back].T.contiguous(), sought[back].T.contiguous()


def _inverse_factor(moments: Tensor) -> Tensor:
    """Return the upper Cholesky factor of the inverse of second moments.

    Where inputs hardly differ from token to token, the moments about their mean are what float32
    rounded, and may be no moments at all: more of a plain error of the weights goes into them.
    """
    share, damped = DAMPING * moments.abs().max(), moments
    for _ in range(ATTEMPTS):
        inverse, singular = torch.linalg.inv_ex(damped)
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex((inverse + inverse.T) / 2, upper=True)
        if not (singular or failed):
            return factor
        damped = moments + share * torch.eye(len(moments), dtype=moments.dtype)
        share = share * 10
    raise torch.linalg.LinAlgError("no inverse")  # type: ignore[attr-defined]


def _blocks(columns: int) -> list[slice]:
    starts = range(0, columns, COLUMNS_AT_ONCE)
    return [slice(start, min(start + COLUMNS_AT_ONCE, columns)) for start in starts]


def descend(
    codes: Tensor, weight: Tensor, moments: Tensor, scales: Tensor, bits: int, passes: int
) -> tuple[Tensor, Tensor]:
    """Improve ``codes`` by coordinate descent on the output error (arXiv 2309.01885).

    Column after column, each weight takes the code of least ``e H eᵀ`` for the errors e that its
    row has in all other columns; in :func:`round_columns` it could only look at those behind it.
    No row's error rises. H are the moments, damped.

    Returns
    -------
    codes, sought
        as of :func:`round_columns`
    """
    damped = damp(moments)
    order = torch.argsort(damped.diagonal(), descending=True)
    damped = damped[order][:, order]
    # Transposed as in round_columns; errors and slopes are in codes, so that scales drop out.
    improved = codes[:, order].T.contiguous()
    sought = improved.clone()
    slope = damped @ (improved - (weight / scales[:, None])[:, order].T)
    int_type = IntType(bits=bits)
    for _ in range(passes):
        for block in _blocks(len(improved)):
            changes = torch.zeros_like(improved[block])
            descend_block(
                *(tensor.numpy() for tensor in (improved[block], sought[block], changes)),
                slope[block].clone().numpy(),
                damped[block, block].contiguous().numpy(),
                float(int_type.low),
                float(int_type.high),
            )
            slope += damped[block].T @ changes
    back = torch.argsort(order)
    return improved[back].T.contiguous(), sought[back].T.contiguous()


def refit_scales(codes: Tensor, weight: Tensor, moments: Tensor, scales: Tensor) -> Tensor:
    """Return the row scales of least output error for given codes, [N]."""
    product = codes @ moments
    power = (product * codes).sum(dim=1)
    fitted = (product * weight).sum(dim=1) / power
    return torch.where((power > 0) & (fitted > 0), fitted, scales)
