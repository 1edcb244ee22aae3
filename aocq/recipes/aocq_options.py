# SPDX-License-Identifier: Apache-2.0
"""Options of the method ``aocq``, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal

from annotated_types import Interval

from aocq.recipes.fields import STRICT, Option, check_fields
from simulator.numerics.hadamard_orders import LARGEST_ORDER

Alpha = Literal["none", "pot3", "pot5", "pot7", "free"]
Rounding = Literal["nearest", "gptq", "adaround", "reconstruct"]
Loss = Literal["mse", "token_norm"]
RotateStream = Literal["never", "unbalanced", "always"]
NarrowSums = Literal["counted", "observed", "proven"]
RowSteps = Literal["none", "scores", "projection", "attention", "all"]
Hadamard = Literal["none", "fc2", "all"]
DenseTokens = Literal["deviation", "alike"]
PresetName = Literal["fast", "default", "paper"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AocqOptions:
    """The three levels of AOCQ (doi 10.1631/FITEE.2400994), each of which can be left out.

    Attributes
    ----------
    alpha
        operator level, the form of α on the residual stream: ``none``, a power of two up to 2^3,
        2^5 or 2^7, or a ``free`` multiplier
    alpha_choice
        α from the channels' ``range``, or the ``mse`` choice: the clipping of least squared error,
        every token weighted by the inverse of its norm. Without α, the same for the one scale
    alpha_sharing
        one α per ``node`` of the stream, or from the ranges of a ``stage`` (nodes of one width)
    balance_inputs
        whether the inputs of linear layers (LayerNorm and GELU results) are held balanced too,
        their factors folded into the weights' columns
    scale_passes
        framework level, first stage: passes of scale refinement, s0 (0) to s4 (4)
    search_images
        how many images a candidate scale is judged on
    image_views
        how many views of each calibration image there are: itself, mirrored, and parts of both
    rounding
        framework level, second stage: ``nearest``, ``gptq`` (the closed form: one column after the
        other, the rest corrected); or, by back-propagation from the closed form on, ``adaround``
        (rounding directions) or ``reconstruct`` (codes, scales, biases and activation steps)
    adaround_steps, adaround_batch
        steps of back-propagation per block, and images per step
    reconstruction_steps, reconstruction_batch
        the same of ``reconstruct``
    look_ahead
        of ``adaround`` and ``reconstruct``: how many blocks in float are between a block and the
        place where its error is measured
    drop_probability
        of an activation to be left in float in such a step (QDrop, arXiv 2203.05740)
    held_out_share
        share of the images that are not learned from, and decide what is kept; 0: all do both
    loss
        loss level: ``token_norm`` weighs every token by ``1 / norm^exponent``; ``mse`` all alike
    norm_exponent
        the exponent
    loss_channels
        factor on every channel of a block's error: ``none``, the inverse of ``alpha`` (the error in
        codes), or ``gamma`` of the LayerNorm that reads the block's result
    dense_tokens
        of networks with a result for each token: tokens count by its ``deviation`` from the mean,
        or all ``alike``
    class_token_weight
        how many times an ordinary token the class token counts
    narrow_sums
        on chips whose sums have few bits: scales of weights ``observed`` to be large enough for the
        sums of calibration images (but not of weights that are rounded to ``nearest``), or overflow
        is only ``counted``; on any chip, weights ``proven`` to overflow on no input
    rotate_stream
        whether the residual stream is rotated, which the layers around it take in: ``unbalanced``,
        on chips that have no factors for its channels
    rotate_heads
        whether attention's queries, keys and values are rotated within each head, which the layers
        around them take in
    hadamard
        which inputs of linear layers are rotated as the network runs: that of ``fc2`` (results of
        functions), or ``all`` (of LayerNorms and of attention's products, too). With
        ``balance_inputs`` their channels are balanced before
    hadamard_block
        largest order of these rotations, in channels; 0: as many as there are, or the chip's
        largest
    row_steps
        which operands of products have a step for each row, found as the chip runs: queries and
        keys (``scores``), the input of attention's projection (``projection``), both
        (``attention``), or also what LayerNorm and functions hand to layers (``all``). They are
        the results of rotations and requantizations in front of products
    row_clipping
        of steps by row that are any number: the share of the row's largest magnitude that the
        largest code stands for. What lies beyond is clipped, so that the others have a smaller step
    block_steps
        whether what a function hands to a layer (fc2's input) has a power of two for each block of
        the sum, found as the chip runs

    Raises
    ------
    ValueError
        If a value is not one of its field's, naming both.
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    alpha: Annotated[
        Alpha,
        Option(
            "factors on the residual stream: none, powers of two up to 2^3, 2^5 or 2^7, or free"
        ),
    ] = "free"
    alpha_choice: Literal["range", "mse"] = "mse"
    alpha_sharing: Annotated[
        Literal["node", "stage"], Option("factors per node of the stream, or stage")
    ] = "node"
    balance_inputs: Annotated[bool, Option("hold the inputs of linear layers balanced too")] = True
    scale_passes: Annotated[
        int, Interval(ge=0, le=4), Option("passes of scale refinement, s0 (0) to s4 (4)")
    ] = 4
    search_images: Annotated[int, Interval(ge=1)] = 32
    image_views: Annotated[
        int,
        Interval(ge=1),
        Option(
            "views of each calibration image: itself, mirrored, and parts of both",
            bounds=Interval(ge=1, le=64),
        ),
    ] = 1
    rounding: Annotated[Rounding, Option("rounding of the weights")] = "gptq"
    adaround_steps: Annotated[int, Interval(ge=1)] = 300
    adaround_batch: Annotated[int, Interval(ge=1)] = 8
    reconstruction_steps: Annotated[
        int,
        Interval(ge=1),
        Option(
            "steps of back-propagation per block, with --rounding reconstruct",
            bounds=Interval(ge=1, le=100_000),
        ),
    ] = 200
    reconstruction_batch: Annotated[
        int, Interval(ge=1), Option("images of each of them", bounds=Interval(ge=1, le=1024))
    ] = 8
    look_ahead: Annotated[
        int,
        Interval(ge=0),
        Option(
            "blocks in float behind a block, at whose end its error counts",
            bounds=Interval(ge=0, le=100),
        ),
    ] = 0
    drop_probability: Annotated[
        float,
        Interval(ge=0, lt=1),
        Option("of an activation to stay in float in one of them", bounds=Interval(ge=0, le=0.99)),
    ] = 0.5
    held_out_share: Annotated[
        float,
        Interval(ge=0, lt=1),
        Option(
            "of the calibration images, which judge what the others teach",
            bounds=Interval(ge=0, le=0.9),
        ),
    ] = 0.2
    loss: Annotated[Loss, Option("error of a block")] = "token_norm"
    norm_exponent: Annotated[
        float,
        Interval(ge=0, le=4),
        Option("of the token norm that divides a token's error; 2 unless given"),
    ] = 2.0
    loss_channels: Annotated[
        Literal["none", "alpha", "gamma"],
        Option(
            "factor on each channel of a block's error: none, 1/alpha, or the next LayerNorm's "
            "gamma"
        ),
    ] = "none"
    dense_tokens: Annotated[
        DenseTokens,
        Option(
            "of networks with a result for each token: tokens count by how far it is from the "
            "mean, or all alike"
        ),
    ] = "deviation"
    class_token_weight: Annotated[
        float,
        Interval(gt=0, lt=inf),
        Option(
            "how many times another token the class token counts; 8 unless given",
            bounds=Interval(ge=0.01, le=1000),
        ),
    ] = 8.0
    narrow_sums: Annotated[
        NarrowSums,
        Option(
            "where sums have few bits: weights whose sums fit on the calibration images, provably "
            "on any, or overflow is only counted"
        ),
    ] = "observed"
    rotate_stream: Annotated[
        RotateStream,
        Option(
            "rotate the residual stream, folded into weights: never, always, or where the chip has "
            "no factors for its channels"
        ),
    ] = "unbalanced"
    rotate_heads: Annotated[
        bool, Option("rotate queries, keys and values within heads, folded into weights")
    ] = False
    hadamard: Annotated[
        Hadamard,
        Option(
            "inputs of linear layers that are rotated as the network runs: none, what functions "
            "hand to fc2, or all"
        ),
    ] = "none"
    hadamard_block: Annotated[
        int,
        Interval(ge=0, le=LARGEST_ORDER),
        Option("largest order of these rotations; 0: all channels"),
    ] = 0
    row_steps: Annotated[
        RowSteps,
        Option(
            "operands with a step for each row, found as the chip runs: queries and keys, the "
            "projection's input, both, or the inputs of the other layers too"
        ),
    ] = "none"
    row_clipping: Annotated[
        float,
        Interval(gt=0.5, le=1),
        Option(
            "share of a row's largest magnitude that the largest code stands for",
            bounds=Interval(ge=0.51, le=1),
        ),
    ] = 0.85
    block_steps: Annotated[
        bool, Option("a power of two for each block of fc2's input, found as the chip runs")
    ] = False

    def __post_init__(self) -> None:
        """Refuse what no field can be."""
        check_fields(self)

    @property
    def learning_steps(self) -> int:
        """Steps of back-propagation per block."""
        steps = {"adaround": self.adaround_steps, "reconstruct": self.reconstruction_steps}
        return steps.get(self.rounding, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Options that differ from the defaults, and how many calibration images belong to them."""

    options: AocqOptions
    images: int


# What some options are of: another one, and which of its values make use of them.
_LEARNING = ("rounding", ("reconstruct", "adaround"))
_RECONSTRUCTION = ("rounding", ("reconstruct",))
USED_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "reconstruction_steps": _RECONSTRUCTION,
        "reconstruction_batch": _RECONSTRUCTION,
        "drop_probability": _RECONSTRUCTION,
        "held_out_share": _RECONSTRUCTION,
        "look_ahead": _LEARNING,
        "hadamard_block": ("hadamard", ("fc2", "all")),
        "row_clipping": ("row_steps", ("scores", "projection", "attention", "all")),
    }
)

PRESETS: Mapping[PresetName, Preset] = MappingProxyType(
    {
        "fast": Preset(options=AocqOptions(scale_passes=0, search_images=16), images=64),
        "default": Preset(options=AocqOptions(), images=250),
        "paper": Preset(
            options=AocqOptions(
                search_images=64, rounding="adaround", adaround_steps=20_000, adaround_batch=32
            ),
            images=1024,
        ),
    }
)
