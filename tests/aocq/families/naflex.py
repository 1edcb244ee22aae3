# SPDX-License-Identifier: Apache-2.0
"""NaFlexViT: patches of any resolution and aspect, here of the one size that a chip is built for.

Position embedding and tokens are made in ``embeds``; from there on it is a plain ViT.
"""

from __future__ import annotations

from families.statement import Example, Statement
from families.vit import SMALL

STATED = Statement(
    family="naflex",
    stream=("embeds.add", "embeds.concat", "blocks.*.add", "blocks.*.add_1"),
    fusable_layers=("blocks.*.attn.proj", "blocks.*.mlp.fc2"),
    examples=(
        Example(
            model="naflexvit_base_patch16_gap",
            arguments={"img_size": 16, "patch_size": 8, **SMALL},
            input_size=(3, 16, 16),
        ),
    ),
)
