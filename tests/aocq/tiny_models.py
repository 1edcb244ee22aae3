# SPDX-License-Identifier: Apache-2.0
"""Vision transformers small enough to quantize and emulate in a test, with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from aocq.zoo.torchvision_compat import declare_missing_operators

declare_missing_operators()

from timm.models.deit import VisionTransformerDistilled  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

# 4 x 4 patches, 2 blocks: enough to see that every block is treated alike.
SMALL = MappingProxyType(
    {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 48,
        "depth": 2,
        "num_heads": 3,
        "num_classes": 10,
    }
)
# 2 x 2 patches, 1 block: the plain-Python reference takes a fraction of a second.
NANO = MappingProxyType({**SMALL, "img_size": 16, "embed_dim": 24, "depth": 1})

# What timm's plain vision transformers differ in, by the arguments that make the difference.
VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "class_token": {},
        "mean_of_all_tokens": {"global_pool": "avg", "fc_norm": False},
        "mean_then_norm": {"global_pool": "avg"},
        "mean_without_class_token": {"global_pool": "avg", "class_token": False},
        "registers": {"reg_tokens": 4, "no_embed_class": True},
        "layer_scale": {"init_values": 0.1},
        "distilled": {"kind": VisionTransformerDistilled},
        "qk_norm": {"qk_norm": True},
        "pre_norm": {"pre_norm": True},
        "relu": {"act_layer": nn.ReLU},
        "gelu_tanh": {"act_layer": "gelu_tanh"},
        "silu": {"act_layer": nn.SiLU},
        "quick_gelu": {"act_layer": "quick_gelu"},
        "no_biases": {"qkv_bias": False, "proj_bias": False},
        "wide_patches": {"patch_size": (4, 8)},
        "one_head": {"num_heads": 1},
    }
)


def network(
    variant: str = "class_token", base: Mapping[str, Any] = SMALL, **options: Any
) -> nn.Module:
    """Build a variant whose every parameter has a say: no zeros, no ones, some γ negative."""
    arguments = {"kind": VisionTransformer, **base, **VARIANTS[variant], **options}
    kind = arguments.pop("kind")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _with_a_say(kind(**arguments))


def with_random_parameters(built: nn.Module) -> nn.Module:
    """Give every parameter of a network a say, the same on every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _with_a_say(built)


def _with_a_say(built: nn.Module) -> nn.Module:
    for name, parameter in built.named_parameters():
        if parameter.ndim >= 2 and "token" not in name and "embed" not in name:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        else:
            nn.init.normal_(parameter, std=0.3)
        if parameter.ndim == 1 and name.endswith("weight"):
            parameter.data += 1.0
            parameter.data[::5] *= -1.0
    for name, buffer in built.named_buffers():  # of BatchNorm
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.3)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2.0)
    return built.eval().requires_grad_(requires_grad=False)


def input_size(base: Mapping[str, Any] = SMALL, **options: Any) -> tuple[int, int, int]:
    """Channels, height and width of the images that ``network`` of the same arguments takes."""
    extent = {**base, **options}["img_size"]
    height, width = (extent, extent) if isinstance(extent, int) else extent
    return 3, height, width


def images(count: int, size: tuple[int, int, int], seed: int = 1) -> Tensor:
    """Random images, preprocessed: zero mean, unit variance."""
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(seed))
