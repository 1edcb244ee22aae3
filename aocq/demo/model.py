# SPDX-License-Identifier: Apache-2.0
"""The demo network: a timm vision transformer for 8x8 digits, with bundled weights.

Importing this module is what makes ``timm.create_model("vit_nano_digits")`` work.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from aocq.zoo.torchvision_compat import declare_missing_operators

declare_missing_operators()  # must come before timm, whose import may fail without it

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

__all__ = ["vit_nano_digits"]

WEIGHTS_FILE = "vit_nano_digits.fp16.safetensors"

# timm looks for this very name in the module of a model that is being registered.
default_cfgs = generate_default_cfgs(
    {
        "vit_nano_digits": {
            "file": str(resources.files("aocq.demo") / WEIGHTS_FILE),
            "input_size": (3, 8, 8),
            "fixed_input_size": True,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "num_classes": 10,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": "apache-2.0",
        }
    }
)


@register_model  # type: ignore[untyped-decorator]
def vit_nano_digits(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Build the demo network: 2 blocks, 64 channels, 4 heads, 16 patches and a class token.

    Parameters
    ----------
    pretrained : bool
        Load the bundled weights, which :mod:`aocq.demo.train` made; nothing is downloaded.
    **kwargs
        Arguments of timm's ``VisionTransformer`` and of its model builder, replacing the ones here.

    Returns
    -------
    VisionTransformer
        The network in float32. It takes images of shape (N, 3, 8, 8), scaled to -1 ... 1, and
        gives logits of shape (N, 10).
    """
    arguments: dict[str, Any] = {
        "img_size": 8,
        "patch_size": 2,
        "in_chans": 3,
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 4,
        "mlp_ratio": 4,
        "qkv_bias": True,
        "class_token": True,
        "global_pool": "token",
    }
    return build_model_with_cfg(
        VisionTransformer, "vit_nano_digits", pretrained, **(arguments | kwargs)
    )
