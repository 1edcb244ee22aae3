# SPDX-License-Identifier: Apache-2.0
"""Vision transformers whose attention adds a bias of relative positions; the stream has none.

timm's ``vit_relpos_*`` (a table of biases) and ``vit_srelpos_*`` (a small network that makes it).
"""

from __future__ import annotations

from families.statement import Example, Statement
from families.vit import SMALL

STATED = Statement(
    family="relpos",
    stream=("patch_embed.proj", "blocks.*.add", "blocks.*.add_1"),
    fusable_layers=("blocks.*.attn.proj", "blocks.*.mlp.fc2"),
    examples=(
        Example(
            model="vit_relpos_small_patch16_224",
            arguments={"img_size": 16, "patch_size": 8, **SMALL},
            input_size=(3, 16, 16),
        ),
        Example(
            model="vit_srelpos_small_patch16_224",
            arguments={"img_size": 16, "patch_size": 8, **SMALL},
            input_size=(3, 16, 16),
        ),
    ),
)
