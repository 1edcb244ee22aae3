# SPDX-License-Identifier: Apache-2.0
"""The recipe of a quantization: what a user asks of a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval

from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.fields import STRICT, Option, check_fields
from aocq.recipes.layer_rules import NO_RULES, LayerRules

DEFAULTS = AocqOptions()
LARGEST_SEED = 2**63 - 1  # of torch's generators
RangeSearch = Literal["minmax", "mse"]
FloatOps = Literal["declared", "integer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a method is asked for; what the chip allows: :class:`aocq.recipes.limits.ChipLimits`.

    Attributes
    ----------
    weight_bits, activation_bits
        widths of the operands of matrix products: weights (up to 8) and activations (up to 16).
        Other activations have the width of the chip's vector unit, see
        :mod:`aocq.methods.tensor_widths`
    end_bits
        width of both operands at the two ends of a network: the image and the first layer's
        weights, the classifier's input and weights. None: as everywhere, but the image has at
        least 8
    activation_range
        of ``base_ptq``: ``minmax``, or ``mse``, the clipping of least squared error per tensor
    weight_range
        the same for each output channel of weights that are rounded to nearest
    float_ops
        what becomes of an operation that the method leaves in float: ``declared``, it has no
        quantizer and stays a float operation; ``integer``, it gets a plain quantizer, so that a
        chip without float arithmetic can compute it. Methods that leave none ignore it
    aocq
        options of the method of that name; others ignore them
    seed
        of whatever a method draws at random
    layers
        what differs at single layers, by patterns on the names of operations; of widths these win
        over all of the above

    Raises
    ------
    ValueError
        If a value is not one of its field's, naming both.
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    weight_bits: Annotated[
        int, Interval(ge=2, le=8), Option("bits of the weights", name="--w-bits")
    ] = 8
    activation_bits: Annotated[
        int,
        Interval(ge=3, le=16),
        Option(
            "bits of the activations that products read, 3 to 8 or 16; other than the profile's "
            "own only with methods that leave operators in float",
            name="--a-bits",
        ),
    ] = 8
    end_bits: Annotated[
        int | None,
        Interval(ge=3, le=8),
        Option(
            "bits of the image, the first layer's weights, the classifier's input and weights "
            "(default: as everywhere, 8 or more for the image)"
        ),
    ] = None
    activation_range: Annotated[
        RangeSearch,
        Option("method base_ptq: activation scales from the observed range or of least error"),
    ] = "minmax"
    weight_range: Annotated[
        RangeSearch,
        Option("weight scales where weights are rounded to nearest: largest weight or least error"),
    ] = "mse"
    float_ops: Annotated[
        FloatOps,
        Option(
            "operators that a method leaves in float: stay so, declared and counted, or become "
            "integer"
        ),
    ] = "declared"
    aocq: AocqOptions = DEFAULTS
    seed: Annotated[
        int,
        Interval(ge=0, le=LARGEST_SEED),
        Option("seed of whatever a method draws at random"),
    ] = 0
    layers: LayerRules = NO_RULES

    def __post_init__(self) -> None:
        """Refuse what no field can be."""
        check_fields(self)

    def plain(self) -> dict[str, Any]:
        """Return the recipe as JSON holds it; rules of layers only where there are any."""
        plain = asdict(self)
        del plain["layers"]
        return {**plain, "layers": self.layers.plain()} if self.layers else plain
