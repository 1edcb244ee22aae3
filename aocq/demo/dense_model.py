# SPDX-License-Identifier: Apache-2.0
"""The dense demo networks: a value for every patch of a canvas of digits, by bundled weights.

Importing this module is what makes ``timm.create_model`` know ``vit_nano_digits_boxes`` and
``vit_nano_digits_segments``. Both have the same blocks; their heads were trained side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from aocq.zoo.torchvision_compat import declare_missing_operators

declare_missing_operators()  # must come before timm, whose import may fail without it

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402
from torch import Tensor  # noqa: E402

__all__ = ["vit_nano_digits_boxes", "vit_nano_digits_segments"]

DENSE_WEIGHTS_FILE = "vit_nano_digits_dense.fp16.safetensors"
# Rows of the head that was trained, in order: 10 digits, centerness and 4 distances; then the
# digits again, and background.
BOX_OUTPUTS, SEGMENT_OUTPUTS = 10 + 1 + 4, 10 + 1
ARCHITECTURE: dict[str, Any] = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 64,
    "depth": 4,
    "num_heads": 4,
    "mlp_ratio": 4,
    "class_token": False,
    "global_pool": "",
}


def _configuration(outputs: int) -> dict[str, Any]:
    return {
        "file": str(resources.files("aocq.demo") / DENSE_WEIGHTS_FILE),
        "input_size": (3, 64, 64),
        "fixed_input_size": True,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "num_classes": outputs,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": "apache-2.0",
    }


# timm looks for this very name in the module of a model that is being registered.
default_cfgs = generate_default_cfgs(
    {
        "vit_nano_digits_boxes": _configuration(BOX_OUTPUTS),
        "vit_nano_digits_segments": _configuration(SEGMENT_OUTPUTS),
    }
)


def dense_network() -> VisionTransformer:
    """Build the network that is trained, with both heads side by side and random weights."""
    return VisionTransformer(num_classes=BOX_OUTPUTS + SEGMENT_OUTPUTS, **ARCHITECTURE)


@register_model  # type: ignore[untyped-decorator]
def vit_nano_digits_boxes(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Build the detector: 4 blocks, 64 channels, 4 heads, 64 patches of 8 x 8 pixels.

    Parameters
    ----------
    pretrained : bool
        Load the bundled weights, which :mod:`aocq.demo.train_dense` made; nothing is downloaded.
    **kwargs
        Arguments of timm's ``VisionTransformer`` and of its model builder, replacing the ones here.

    Returns
    -------
    VisionTransformer
        The network in float32. It takes images of shape (N, 3, 64, 64), scaled to -1 ... 1, and
        gives (N, 64, 15): of each patch, row by row, logits of the ten digits, a centerness logit
        and the logarithms of four distances in patches.
    """
    return _built("vit_nano_digits_boxes", slice(0, BOX_OUTPUTS), pretrained, kwargs)


@register_model  # type: ignore[untyped-decorator]
def vit_nano_digits_segments(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Build the network for semantic segmentation: the detector's blocks with another head.

    Parameters
    ----------
    pretrained, **kwargs
        As of :func:`vit_nano_digits_boxes`.

    Returns
    -------
    VisionTransformer
        The network in float32. It takes images as the detector does, and gives (N, 64, 11): of
        each patch logits of the ten digits and of background.
    """
    rows = slice(BOX_OUTPUTS, BOX_OUTPUTS + SEGMENT_OUTPUTS)
    return _built("vit_nano_digits_segments", rows, pretrained, kwargs)


def _built(
    name: str, rows: slice, pretrained: bool, arguments: Mapping[str, Any]
) -> VisionTransformer:
    def own_head(state: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
        del network
        return {
            key: value[rows] if key.startswith("head.") else value for key, value in state.items()
        }

    return build_model_with_cfg(
        VisionTransformer,
        name,
        pretrained,
        pretrained_filter_fn=own_head,
        **(ARCHITECTURE | dict(arguments)),
    )
