# SPDX-License-Identifier: Apache-2.0
"""Plain vision transformers: ViT (arXiv 2010.11929), DeiT (2012.12877) and what grew from them.

DeiT-III (2204.07118) and DINOv2 (2304.07193) scale the end of each branch (LayerScale), which
capture multiplies into the layer. DINOv2 may have register tokens beside that of the class.
"""

from __future__ import annotations

from families.statement import Example, Statement

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 10}

STATED = Statement(
    family="vit",
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
