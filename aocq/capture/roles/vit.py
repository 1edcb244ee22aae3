# SPDX-License-Identifier: Apache-2.0
"""Plain vision transformers: ViT (arXiv 2010.11929), DeiT (2012.12877) and what grew from them.

DeiT-III (2204.07118) and DINOv2 (2304.07193) scale the end of each branch (LayerScale), which
capture multiplies into the layer. DINOv2 may have register tokens beside that of the class.
"""

from __future__ import annotations

from aocq.capture.roles.family import Example, Family

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 10}

FAMILY = Family(
    name="vit",
    timm_modules=("vision_transformer", "deit"),
    without=(
        "aimv2_*",  # RMSNorm
        "*_xp_*",  # the same
        "vit_giant_patch14_dinov2",  # SwiGLU
        "vit_giant_patch14_reg*",
        "*_siglip_[0-9]*",  # pooled by attention, whose query is a constant
        "*_map_*",  # the same
        "*_18x2_*",  # parallel blocks
        "vit_pwee_*",
        "vit_d*_patch16_reg1_*",  # differential attention
    ),
    # Tokens joined, the position embedding added (or the other way round), then one sum behind
    # each branch.
    stream=("concat", "add", "blocks.*.add", "blocks.*.add_1"),
    fusable_layers=("blocks.*.attn.proj", "blocks.*.mlp.fc2"),
    examples=(
        Example(
            model="vit_tiny_patch16_224",
            arguments={"img_size": 16, "patch_size": 8, **SMALL},
            input_size=(3, 16, 16),
        ),
        Example(
            model="deit3_small_patch16_224",
            arguments={"img_size": 16, "patch_size": 8, **SMALL},
            input_size=(3, 16, 16),
        ),
        Example(
            model="vit_small_patch14_reg4_dinov2",
            arguments={"img_size": 28, **SMALL},
            input_size=(3, 28, 28),
        ),
    ),
)
