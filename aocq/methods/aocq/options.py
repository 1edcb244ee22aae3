# SPDX-License-Identifier: Apache-2.0
"""What AOCQ can be asked for, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class AocqOptions(BaseModel):
    """The three levels of AOCQ (doi 10.1631/FITEE.2400994), each of which can be left out.

    Attributes
    ----------
    alpha
        operator level, the form of α on the residual stream: ``none``, a power of two up to 2^3,
        2^5 or 2^7, or a ``free`` multiplier
    alpha_choice
        α from the channels' ``range``, or the ``mse`` choice: the clipping of least squared error,
        every token weighted by the inverse of its norm
    alpha_sharing
        one α per ``node`` of the stream, or from the ranges of a ``stage`` (nodes of one width)
    balance_inputs
        whether the inputs of linear layers (LayerNorm and GELU results) are held balanced too,
        their factors folded into the weights' columns
    scale_passes
        framework level, first stage: passes of scale refinement, s0 (0) to s4 (4)
    search_images
        how many images a candidate scale is judged on
    rounding
        framework level, second stage: ``nearest``, ``gptq`` (the closed form: one column after the
        other, the rest corrected), or ``adaround`` (back-propagation, from the closed form on)
    adaround_steps, adaround_batch
        steps of back-propagation per block, and images per step
    loss
        loss level: ``token_norm`` weighs every token by ``1 / norm^exponent``; ``mse`` all alike
    norm_exponent
        the exponent
    loss_channels
        factor on every channel of a block's error: ``none``, the inverse of ``alpha`` (the error in
        codes), or ``gamma`` of the LayerNorm that reads the block's result
    class_token_weight
        how many times an ordinary token the class token counts
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: Literal["none", "pot3", "pot5", "pot7", "free"] = "free"
    alpha_choice: Literal["range", "mse"] = "mse"
    alpha_sharing: Literal["node", "stage"] = "node"
    balance_inputs: bool = True
    scale_passes: Annotated[int, Field(ge=0, le=4)] = 4
    search_images: Annotated[int, Field(ge=1)] = 32
    rounding: Literal["nearest", "gptq", "adaround"] = "gptq"
    adaround_steps: Annotated[int, Field(ge=1)] = 300
    adaround_batch: Annotated[int, Field(ge=1)] = 8
    loss: Literal["mse", "token_norm"] = "token_norm"
    norm_exponent: Annotated[float, Field(ge=0, le=4)] = 2.0
    loss_channels: Literal["none", "alpha", "gamma"] = "none"
    class_token_weight: Annotated[float, Field(gt=0)] = 8.0


# What differs from the defaults above, and how many calibration images belong to it.
PRESET_OPTIONS: Mapping[str, AocqOptions] = MappingProxyType(
    {
        "fast": AocqOptions(scale_passes=0, search_images=16),
        "default": AocqOptions(),
        "paper": AocqOptions(
            search_images=64, rounding="adaround", adaround_steps=20_000, adaround_batch=32
        ),
    }
)
PRESET_IMAGES: Mapping[str, int] = MappingProxyType({"fast": 64, "default": 250, "paper": 1024})
