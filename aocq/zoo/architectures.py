# SPDX-License-Identifier: Apache-2.0
"""Architectures of timm's vision transformers: of each, ``aocq models --check`` tries one network.

:data:`aocq.zoo.families.FAMILIES` says which of timm's modules can be lowered; most of these are of
modules that cannot, or not yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Networks of timm that are built alike, of which the smallest is tried.

    Attributes
    ----------
    name
        for people
    module
        of ``timm.models``
    pattern
        shell pattern of the models, where the module has others too
    arguments
        of the constructor: what cuts the network to fit
    """

    name: str
    module: str
    pattern: str = "*"
    arguments: Mapping[str, Any] = field(default_factory=dict)


_AT_224: Mapping[str, Any] = MappingProxyType({"img_size": 224})

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(name="ViT", module="vision_transformer", pattern="vit_*_patch*_224"),
    Architecture(
        name="DINOv2", module="vision_transformer", pattern="vit_*_dinov2", arguments=_AT_224
    ),
    Architecture(
        name="DINOv2 with registers",
        module="vision_transformer",
        pattern="vit_*_reg4_dinov2",
        arguments=_AT_224,
    ),
    Architecture(name="SigLIP", module="vision_transformer", pattern="vit_*_siglip_224"),
    Architecture(name="ViT with relative positions", module="vision_transformer_relpos"),
    Architecture(name="ViT behind a ResNet", module="vision_transformer_hybrid"),
    Architecture(name="SAM", module="vision_transformer_sam", pattern="*_224"),
    Architecture(name="NaFlexViT", module="naflexvit"),
    Architecture(name="DeiT", module="deit", pattern="deit_*"),
    Architecture(name="DeiT-III", module="deit", pattern="deit3_*"),
    Architecture(name="BEiT", module="beit", pattern="beit_*"),
    Architecture(name="BEiT v2", module="beit", pattern="beitv2_*"),
    Architecture(name="EVA-02", module="eva", pattern="eva02_*_224"),
    Architecture(name="DINOv3", module="eva", pattern="*_dinov3*"),
    Architecture(name="CaiT", module="cait"),
    Architecture(name="Swin", module="swin_transformer"),
    Architecture(name="Swin v2", module="swin_transformer_v2"),
    Architecture(name="Swin v2 CR", module="swin_transformer_v2_cr"),
    Architecture(name="LeViT", module="levit", pattern="levit_[0-9]*"),
    Architecture(name="LeViT with convolutions", module="levit", pattern="levit_conv_*"),
    Architecture(name="PiT", module="pit"),
    Architecture(name="PVT v2", module="pvt_v2"),
    Architecture(name="Twins", module="twins"),
    Architecture(name="CrossViT", module="crossvit"),
    Architecture(name="ConViT", module="convit"),
    Architecture(name="XCiT", module="xcit"),
    Architecture(name="TNT", module="tnt"),
    Architecture(name="VOLO", module="volo"),
    Architecture(name="NesT", module="nest"),
    Architecture(name="Visformer", module="visformer"),
    Architecture(name="CoaT", module="coat"),
    Architecture(name="GC ViT", module="gcvit"),
    Architecture(name="MViT v2", module="mvitv2"),
    Architecture(name="Hiera", module="hiera"),
    Architecture(name="DaViT", module="davit"),
    Architecture(name="TinyViT", module="tiny_vit"),
    Architecture(name="ViTamin", module="vitamin"),
    Architecture(name="EfficientFormer", module="efficientformer"),
    Architecture(name="EfficientFormer v2", module="efficientformer_v2"),
    Architecture(name="EfficientViT (MIT)", module="efficientvit_mit"),
    Architecture(name="EfficientViT (MSRA)", module="efficientvit_msra"),
    Architecture(name="MobileViT", module="mobilevit"),
    Architecture(name="Next-ViT", module="nextvit"),
    Architecture(name="FastViT", module="fastvit"),
    Architecture(name="MaxViT, CoAtNet", module="maxxvit"),
    Architecture(name="MLP-Mixer", module="mlp_mixer", pattern="mixer_*"),
    Architecture(name="ResMLP", module="mlp_mixer", pattern="resmlp_*"),
    Architecture(name="gMLP", module="mlp_mixer", pattern="gmlp_*"),
)
