# SPDX-License-Identifier: Apache-2.0
"""A network small enough to be quantized and run by every peer in a test."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aocq.zoo.torchvision_compat import declare_missing_operators

declare_missing_operators()

from timm.models.vision_transformer import VisionTransformer  # noqa: E402

from aocq.capture import capture  # noqa: E402
from aocq.lowering import lower  # noqa: E402
from benchmarks.networks import Subject, quantized  # noqa: E402
from simulator.profile import load_profile  # noqa: E402

SHAPE = (3, 32, 32)


def small_network(**options) -> nn.Module:
    """Two blocks on 17 tokens; no parameter is zero or one, so that each has a say."""
    torch.manual_seed(3)
    plain = {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 48,
        "depth": 2,
        "num_heads": 3,
        "num_classes": 10,
    }
    network = VisionTransformer(**{**plain, **options}).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))
    return network


def small_images(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(5))


def small_subject(**options) -> Subject:
    network, images, profile = small_network(**options), small_images(8), "edge_npu_int8"
    model = quantized(capture(network, "small", SHAPE), load_profile(profile), images)
    return Subject(
        name="small",
        network=network,
        model=model,
        graph=lower(model, load_profile(profile)),
        images=images,
        network_trained=False,
        weights="random weights",
        pixels="random pixels",
    )
