# SPDX-License-Identifier: Apache-2.0
"""Limits of a chip on a quantization, and whether one chip allows what another does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval

from aocq.recipes.fields import STRICT, check_fields
from aocq.recipes.methods import knows_chip
from aocq.recipes.recipe import Recipe
from aocq.recipes.widths import LEAST_END_BITS
from simulator.numerics.hadamard_orders import LARGEST_ORDER
from simulator.numerics.softmax_constants import LEVEL_BITS
from simulator.profile import DeferredLog2Softmax, GraphLayerNorm, NpuProfile
from simulator.profile.algorithms import ItaSoftmax

Granularity = Literal["per_tensor", "per_channel"]
Scales = Literal["any", "power_of_two"]
RowScale = Literal["none", "power_of_two", "multiplier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipLimits:
    """The restrictions of a chip that every method heeds.

    Attributes
    ----------
    vector_bits
        width of tensors that no matrix product reads; None: that of those that one reads
    residual_bits
        width of the residual stream
    output_bits
        width of the network's result; None: that of tensors that no product reads, 8 at least
    softmax_bits
        width of probabilities; None: that of the other activations
    softmax_levels_per_octave
        of probabilities whose codes are logarithms, where the division by the row's sum comes after
        the product that reads them; None: codes are multiples of 2^-bits
    weight_granularity, activation_granularity
        whether the rows of a weight, and the channels and heads of an activation, may have scales
        of their own
    weight_scale, activation_scale
        whether scales of weights, and of activations, are any or powers of two
    float32_scales
        whether every scale is rounded to float32 when it is chosen: files that hold scales in
        float32 hand exactly these to the chip. Ratios of scales (channel factors) are no scales
    bias_bits
        of a bias, or of the register that starts with it if that is narrower: weights whose biases
        would not fit have larger scales. None: of any size
    zero_point
        whether activations may have one
    channel_factor, channel_factor_bits
        what LayerNorm can apply to each channel of its input before the statistics: no factor, a
        ``shift`` of 0 to 2^bits - 1 places, or an unsigned ``multiplier`` of so many bits
    fused_add
        whether layers at the ends of branches add to the residual stream themselves: their results
        need no codes of their own
    layernorm_part_bits
        width of the tensors inside LayerNorm on a chip that computes it as a graph of operators:
        their ranges are observed too; None: it has an operator of its own
    hadamard_order
        largest order of a rotation by a Hadamard matrix as the chip runs; 0: it has none
    approximate_probabilities
        whether softmax rounds probabilities down, or to whole octaves, so that they do not add up
        to 1
    octave_codes
        how many codes of scores halve a probability: the chip's own number where it has one,
        otherwise enough that whole numbers of codes serve softmax's constants. None: scores may
        have any scale
    sum_bits
        of a layer's sums, where these are narrow or are to be proven; None: they hold whatever
        occurs
    row_scale
        of operands of products, whether each row's step is found as the chip runs, and its form
    block
        terms of a product's sum that share a step, a power of two found as the chip runs: their
        sum is shifted; 0: it has none
    block_trim
        of a step that is a power of two, of a block or a row: the largest magnitude m counts as
        m - (m >> block_trim), so that codes of the largest may be clipped; 0: as m

    Raises
    ------
    ValueError
        If a value is not one of its field's, naming both.
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    vector_bits: Annotated[int | None, Interval(ge=3, le=16)] = None
    residual_bits: Annotated[int, Interval(ge=3, le=16)] = 8
    output_bits: Annotated[int | None, Interval(ge=8, le=16)] = None
    softmax_bits: Annotated[int | None, Interval(ge=3, le=16)] = None
    softmax_levels_per_octave: Literal[1, 2] | None = None
    weight_granularity: Granularity = "per_channel"
    weight_scale: Scales = "any"
    activation_granularity: Granularity = "per_channel"
    activation_scale: Scales = "any"
    float32_scales: bool = False
    bias_bits: Annotated[int | None, Interval(ge=8, le=64)] = 32
    zero_point: Literal["symmetric", "asymmetric"] = "asymmetric"
    channel_factor: Literal["none", "shift", "multiplier"] = "multiplier"
    channel_factor_bits: Annotated[int, Interval(ge=2, le=16)] = 8
    fused_add: bool = False
    layernorm_part_bits: Literal[8, 16] | None = None
    hadamard_order: Annotated[int, Interval(ge=0, le=LARGEST_ORDER)] = 0
    approximate_probabilities: bool = False
    octave_codes: Annotated[int | None, Interval(ge=1, le=256)] = None
    sum_bits: Annotated[int | None, Interval(ge=8, le=64)] = None
    row_scale: RowScale = "none"
    block: Annotated[int, Interval(ge=0, le=1 << 16)] = 0
    block_trim: Annotated[int, Interval(ge=0, le=7)] = 0

    def __post_init__(self) -> None:
        """Refuse what no field can be."""
        check_fields(self)

    def plain(self) -> dict[str, Any]:
        """Return the limits as JSON holds them."""
        return asdict(self)

    def vector_width(self, recipe: Recipe) -> int:
        """Return the width of tensors that no matrix product reads."""
        return recipe.activation_bits if self.vector_bits is None else self.vector_bits

    def output_width(self, recipe: Recipe) -> int:
        """Return the width of the network's result."""
        return self.output_bits or max(self.vector_width(recipe), LEAST_END_BITS)

    def probability_bits(self, recipe: Recipe) -> int:
        """Return the width of softmax's results."""
        return recipe.activation_bits if self.softmax_bits is None else self.softmax_bits

    def resolved_bits(self, recipe: Recipe) -> int:
        """Return how many bits tell a probability from none: a code's, or a level's."""
        logarithmic = self.softmax_levels_per_octave is not None
        return LEVEL_BITS if logarithmic else self.probability_bits(recipe)


ANY_CHIP = ChipLimits()

# Algorithms of softmax that round down, or to powers of two.
_APPROXIMATE = frozenset({"ibert_poly", "shiftmax", "ita_shift", "log2"})
# Those that take whole numbers of codes for ln 2 or 1, and how many codes an octave then has: 8-bit
# scores reach 6.3 octaves to either side, and a whole number is within 2.5 % of ln 2.
_WHOLE_OCTAVES = frozenset({"ibert_poly", "shiftmax"})
OCTAVE_CODES = 20
# Sums of so many bits hold what 8-bit operands add up to on images.
WIDE_SUMS = 26
BYTE = 8


def limits_of(profile: NpuProfile, recipe: Recipe) -> ChipLimits:
    """Return what a profile allows a recipe.

    Probabilities have the chip's width where the other operands have theirs; in a narrower recipe
    they are as narrow.
    """
    softmax_bits: int | None = profile.softmax.output_bits
    operand_bits, vector_bits = profile.activation.operand_width, profile.activation.bits
    if recipe.activation_bits in {softmax_bits, *range(operand_bits)}:
        softmax_bits = None
    per_octave = None
    if isinstance(profile.softmax, DeferredLog2Softmax):
        softmax_bits, per_octave = profile.softmax.output_bits, profile.softmax.levels_per_octave
    norm = profile.layernorm
    return ChipLimits(
        vector_bits=vector_bits if vector_bits != operand_bits else None,
        residual_bits=profile.activation.residual_bits,
        output_bits=profile.activation.output_bits,
        softmax_bits=softmax_bits,
        softmax_levels_per_octave=per_octave,
        weight_granularity=profile.weight.granularity,
        weight_scale=profile.weight.scale,
        activation_granularity=profile.activation.granularity,
        activation_scale=profile.activation.scale,
        float32_scales=profile.float32_scales,
        bias_bits=_bias_bits(profile),
        zero_point=profile.activation.zero_point,
        channel_factor=norm.channel_factor,
        channel_factor_bits=norm.channel_factor_bits,
        fused_add=profile.residual.fused_add,
        layernorm_part_bits=norm.part_bits if isinstance(norm, GraphLayerNorm) else None,
        approximate_probabilities=profile.softmax.algorithm in _APPROXIMATE,
        octave_codes=_octave_codes(profile),
        sum_bits=_narrow_sum_bits(profile, recipe),
        hadamard_order=profile.hadamard.largest_order if profile.hadamard else 0,
        row_scale=(profile.dynamic and profile.dynamic.row_scale) or "none",
        block=profile.dynamic.block if profile.dynamic else 0,
        block_trim=profile.dynamic.block_trim if profile.dynamic else 0,
    )


def limits_heeded(method: str, limits: ChipLimits) -> ChipLimits:
    """Return a chip's limits without those that a method does not look at.

    Chips that have the same ones share a calibration.
    """
    limits = replace(limits, bias_bits=None)
    if knows_chip(method):
        return limits
    return replace(limits, sum_bits=None, approximate_probabilities=False, octave_codes=None)


def _narrow_sum_bits(profile: NpuProfile, recipe: Recipe) -> int | None:
    """Return the width of sums where a recipe has to heed it: of any, where a proof is asked for.

    Rows of 4,096 products of bytes do pass 26 bits. Where rules have single layers read wider
    operands than bytes, sums have as many more bits.
    """
    bits = profile.accumulator_of("linear").levels[-1].bits
    widest = max((BYTE, *recipe.layers.values_of("a").values()))
    wide = WIDE_SUMS + widest - BYTE
    return bits if bits < wide or recipe.aocq.narrow_sums == "proven" else None


def _octave_codes(profile: NpuProfile) -> int | None:
    softmax = profile.softmax
    if isinstance(softmax, ItaSoftmax):
        return 1 << softmax.octave_bits
    whole = softmax.algorithm in _WHOLE_OCTAVES and profile.activation.bits == BYTE
    return OCTAVE_CODES if whole and profile.activation.scale == "any" else None


def _bias_bits(profile: NpuProfile) -> int:
    """Return the width of biases that sums hold and factors reach.

    Q31 and Q15 make 0 of a factor below 2^-32. What that takes of a bias of 32 bits is less than
    half a code; of a wider one it could be all.
    """
    accumulator, rescale = profile.accumulator_of("linear"), profile.rescale_of("linear")
    bits = min(accumulator.bias_bits, accumulator.levels[-1].bits)
    least_factor = rescale.kind == "fixed_point" and rescale.derivation in {"q31", "q15"}
    return min(bits, 32) if least_factor else bits


@dataclass(frozen=True, slots=True)
class _Rule:
    """When a ``chip`` can compute what was decided for a chip like ``model``.

    ``problem`` is said where it cannot, in the profile's words.
    """

    fits: Callable[[ChipLimits, ChipLimits], bool]
    problem: str


def _factors_fit(model: ChipLimits, chip: ChipLimits) -> bool:
    """Whether a chip has a model's channel factors; a multiplier can be 2^k."""
    bits = model.channel_factor_bits
    if model.channel_factor == "shift":
        largest_exponent = {
            "none": 0,
            "shift": (1 << chip.channel_factor_bits) - 1,
            "multiplier": chip.channel_factor_bits - 1,
        }[chip.channel_factor]
        return (1 << bits) - 1 <= largest_exponent
    has = chip.channel_factor_bits if chip.channel_factor == "multiplier" else 0
    return model.channel_factor == "none" or bits <= has


def _are_float32(limits: ChipLimits) -> bool:
    """Whether all scales are float32 numbers; powers of two are."""
    powers = (limits.weight_scale, limits.activation_scale) == ("power_of_two", "power_of_two")
    return limits.float32_scales or powers


def _has_powers(limits: ChipLimits) -> bool:
    """Whether steps that are found as the chip runs may be powers of two."""
    return bool(limits.block_trim or limits.block) or limits.row_scale == "power_of_two"


# A bias's width and that of parts of LayerNorm need no rule: lowering sees whether they fit.
_RULES = (
    _Rule(
        lambda model, chip: model.residual_bits <= chip.residual_bits,
        "activation.residual_bits = {chip.residual_bits}, the model has {model.residual_bits}",
    ),
    _Rule(
        lambda model, chip: (model.output_bits or 0) <= (chip.output_bits or LEAST_END_BITS),
        "activation.output_bits: the model's result has {model.output_bits} bits, which the "
        "profile does not have",
    ),
    _Rule(
        lambda model, chip: (
            model.softmax_levels_per_octave in {None, chip.softmax_levels_per_octave}
        ),
        "softmax.levels_per_octave: the model's probabilities are logarithms with "
        "{model.softmax_levels_per_octave} levels per octave, the profile's softmax has "
        "{chip.softmax_levels_per_octave}",
    ),
    _Rule(
        _factors_fit,
        'layernorm.channel_factor = "{chip.channel_factor}" of {chip.channel_factor_bits} bits, '
        'the model has "{model.channel_factor}" of {model.channel_factor_bits}',
    ),
    _Rule(
        lambda model, chip: chip.fused_add or not model.fused_add,
        "residual.fused_add = false, the model's proj and fc2 have no codes of their own (it was "
        "quantized for a chip that adds their sums to the stream)",
    ),
    _Rule(
        lambda model, chip: chip.weight_granularity in {"per_channel", model.weight_granularity},
        'weight.granularity = "per_tensor", the model is per channel',
    ),
    _Rule(
        lambda model, chip: (
            chip.activation_granularity in {"per_channel", model.activation_granularity}
        ),
        'activation.granularity = "per_tensor", the model has scales by channel or head',
    ),
    _Rule(
        lambda model, chip: chip.weight_scale in {"any", model.weight_scale},
        'weight.scale = "power_of_two", the model has weights of any scale',
    ),
    _Rule(
        lambda model, chip: chip.activation_scale in {"any", model.activation_scale},
        'activation.scale = "power_of_two", the model has activations of any scale',
    ),
    _Rule(
        lambda model, chip: _are_float32(model) or not chip.float32_scales,
        "rescale.scale_type wants scales in float32, the model has others",
    ),
    _Rule(
        lambda model, chip: chip.zero_point in {"asymmetric", model.zero_point},
        'activation.zero_point = "symmetric", the model has zero points',
    ),
    _Rule(
        lambda model, chip: model.hadamard_order <= chip.hadamard_order,
        "hadamard.largest_order = {chip.hadamard_order}, the model has rotations of order "
        "{model.hadamard_order}",
    ),
    _Rule(
        # A multiplier can be 2^k.
        lambda model, chip: (
            model.row_scale in {"none", chip.row_scale} or chip.row_scale == "multiplier"
        ),
        'dynamic.row_scale = "{chip.row_scale}", the model has steps by row in the form '
        '"{model.row_scale}"',
    ),
    _Rule(
        lambda model, chip: model.block in {0, chip.block},
        "dynamic.block = {chip.block}, the model has steps for blocks of {model.block} terms",
    ),
    _Rule(
        lambda model, chip: model.block_trim == chip.block_trim or not _has_powers(model),
        "dynamic.block_trim = {chip.block_trim}, the model's powers of two are found with "
        "{model.block_trim}",
    ),
)


def exceeded(model: ChipLimits, chip: ChipLimits) -> list[str]:
    """Return which limits of a chip a model exceeds that was quantized within others."""
    return [
        rule.problem.format(chip=chip, model=model) for rule in _RULES if not rule.fits(model, chip)
    ]
