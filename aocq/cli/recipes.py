# SPDX-License-Identifier: Apache-2.0
"""Options of the quantization methods, and the recipe that they make."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aocq.cli.options import finite
from aocq.method_names import METHOD_NAMES, PUBLISHED_IMAGES, default_method

if TYPE_CHECKING:
    from aocq.recipes.recipe import Recipe


class RangeSearch(StrEnum):
    """How a range becomes a scale."""

    MINMAX = "minmax"
    MSE = "mse"


class FloatOps(StrEnum):
    """What becomes of operators that a method leaves in float."""

    DECLARED = "declared"
    INTEGER = "integer"


class Device(StrEnum):
    """Where a method computes."""

    CPU = "cpu"
    CUDA = "cuda"


class Preset(StrEnum):
    """How much work AOCQ puts in."""

    FAST = "fast"
    DEFAULT = "default"
    PAPER = "paper"


class Alpha(StrEnum):
    """The form of the factors on the residual stream."""

    NONE = "none"
    POT3 = "pot3"
    POT5 = "pot5"
    POT7 = "pot7"
    FREE = "free"


class AlphaSharing(StrEnum):
    """What shares one set of factors."""

    NODE = "node"
    STAGE = "stage"


class Rounding(StrEnum):
    """How weights are rounded."""

    NEAREST = "nearest"
    GPTQ = "gptq"
    ADAROUND = "adaround"


class Loss(StrEnum):
    """What the error of a block is."""

    MSE = "mse"
    TOKEN_NORM = "token_norm"


class LossChannels(StrEnum):
    """What weighs the channels of a block's error."""

    NONE = "none"
    ALPHA = "alpha"
    GAMMA = "gamma"


ACTIVATION_WIDTHS = (3, 4, 5, 6, 7, 8, 16)
# All of them are held as one batch: 100,000 photographs of 224 x 224 are 60 GB.
MOST_CALIBRATION_IMAGES = 100_000
LARGEST_SEED = 2**63 - 1  # of torch's generators
DEFAULT_METHOD = ""  # stands for the default, see known_method


def known_method(name: str) -> str:
    """Return ``name``, the default for :data:`DEFAULT_METHOD`; a usage error if there is none."""
    if name == DEFAULT_METHOD:
        return default_method()
    if name not in METHOD_NAMES:
        near = get_close_matches(name, METHOD_NAMES, n=1)
        nearest = f"; nearest: {near[0]}" if near else ""
        raise typer.BadParameter(
            f"no method {name!r}; choose one of {', '.join(METHOD_NAMES)}{nearest}"
        )
    return name


def known_activation_width(bits: int) -> int:
    """Return ``bits``; a usage error if activations cannot have so many."""
    if bits not in ACTIVATION_WIDTHS:
        raise typer.BadParameter(f"{bits} is not in 3 to 8, and not 16")
    return bits


Method = Annotated[
    str,
    typer.Option(
        "--method",
        show_default=False,
        callback=known_method,
        help="quantization method, see docs/methods.md (default: aocq)",
    ),
]
WeightBits = Annotated[int, typer.Option("--w-bits", min=2, max=8, help="bits of the weights")]
ActivationBits = Annotated[
    int,
    typer.Option(
        "--a-bits",
        min=min(ACTIVATION_WIDTHS),
        max=max(ACTIVATION_WIDTHS),
        callback=known_activation_width,
        help="bits of the activations, 3 to 8 or 16; other than the profile's own only with "
        "methods that leave operators in float",
    ),
]
ActivationRange = Annotated[
    RangeSearch,
    typer.Option(
        "--activation-range",
        help="method base_ptq: activation scales from the observed range or of least error",
    ),
]
WeightRange = Annotated[
    RangeSearch,
    typer.Option(
        "--weight-range",
        help="weight scales where weights are rounded to nearest: largest weight or least error",
    ),
]
FloatOpsOption = Annotated[
    FloatOps,
    typer.Option(
        "--float-ops",
        help="operators that a method leaves in float: stay so, declared and counted, or become "
        "integer",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", min=0, max=LARGEST_SEED, help="seed of whatever a method draws at random"
    ),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", help="where aocq computes; other methods stay on the CPU")
]
CalibrationImages = Annotated[
    int | None,
    typer.Option(
        "--calib",
        "--calib-images",
        min=1,
        max=MOST_CALIBRATION_IMAGES,
        help="how many calibration images to use (default: as many as a baseline was published "
        "with, 32 or 1000; otherwise the preset's 64, 250 or 1024)",
    ),
]
PresetOption = Annotated[
    Preset, typer.Option("--preset", help="AOCQ's options, and the number of calibration images")
]
_AOCQ = "method aocq"
AlphaOption = Annotated[
    Alpha | None,
    typer.Option(
        "--alpha",
        rich_help_panel=_AOCQ,
        help="factors on the residual stream: none, powers of two up to 2^3, 2^5 or 2^7, or free",
    ),
]
AlphaSharingOption = Annotated[
    AlphaSharing | None,
    typer.Option(
        "--alpha-sharing", rich_help_panel=_AOCQ, help="factors per node of the stream, or stage"
    ),
]
RoundingOption = Annotated[
    Rounding | None,
    typer.Option("--rounding", rich_help_panel=_AOCQ, help="rounding of the weights"),
]
LossOption = Annotated[
    Loss | None, typer.Option("--loss", rich_help_panel=_AOCQ, help="error of a block")
]
ScalePasses = Annotated[
    int | None,
    typer.Option(
        "--scale-passes",
        min=0,
        max=4,
        rich_help_panel=_AOCQ,
        help="passes of scale refinement, s0 (0) to s4 (4)",
    ),
]
NormExponent = Annotated[
    float | None,
    typer.Option(
        "--norm-exponent",
        min=0,
        max=4,
        callback=finite,
        rich_help_panel=_AOCQ,
        help="of the token norm that divides a token's error; 2 unless given",
    ),
]
LossChannelsOption = Annotated[
    LossChannels | None,
    typer.Option(
        "--loss-channels",
        rich_help_panel=_AOCQ,
        help="factor on each channel of a block's error: none, 1/alpha, or the next LayerNorm's "
        "gamma",
    ),
]
ClassTokenWeight = Annotated[
    float | None,
    typer.Option(
        "--class-token-weight",
        min=0.01,
        max=1000,
        callback=finite,
        rich_help_panel=_AOCQ,
        help="how many times another token the class token counts; 8 unless given",
    ),
]
BalanceInputs = Annotated[
    bool | None,
    typer.Option(
        "--balance-inputs/--no-balance-inputs",
        rich_help_panel=_AOCQ,
        help="hold the inputs of linear layers balanced too",
    ),
]


def make_recipe(
    *,
    weight_bits: int,
    activation_bits: int,
    activation_range: RangeSearch = RangeSearch.MINMAX,
    weight_range: RangeSearch = RangeSearch.MSE,
    float_ops: FloatOps = FloatOps.DECLARED,
    seed: int = 0,
    preset: Preset = Preset.DEFAULT,
    method: str = "aocq",
    **overrides: Any,
) -> Recipe:
    """Return the recipe of a command's options; note on stderr those that the method ignores.

    Parameters
    ----------
    overrides
        fields of :class:`aocq.methods.aocq.options.AocqOptions` that replace the preset's; None
        leaves it as it is
    """
    from aocq import progress
    from aocq.recipes.recipe import Recipe
    from aocq.methods.aocq.options import PRESET_OPTIONS

    given = {
        name: value.value if isinstance(value, StrEnum) else value
        for name, value in overrides.items()
        if value is not None
    }
    if given and method != "aocq":
        named = ", ".join(_option(name, value) for name, value in given.items())
        progress.note(f"method {method} ignores {named}: options of method aocq")
    return Recipe(
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        activation_range=activation_range.value,
        weight_range=weight_range.value,
        float_ops=float_ops.value,
        aocq=PRESET_OPTIONS[preset.value].model_copy(update=given),
        seed=seed,
    )


def _option(field: str, value: object) -> str:
    """Return the option that sets a field."""
    return f"--{'no-' if value is False else ''}{field.replace('_', '-')}"


def calibration_count(given: int | None, preset: Preset, method: str) -> int:
    """Return how many calibration images to use: as given, published, or the preset's number."""
    from aocq.methods.aocq.options import PRESET_IMAGES

    return given or PUBLISHED_IMAGES.get(method, PRESET_IMAGES[preset.value])
