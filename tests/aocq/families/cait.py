# SPDX-License-Identifier: Apache-2.0
"""CaiT (arXiv 2103.17239): heads that talk, LayerScale, and a class token that comes in late.

The stream of the patches ends at the last block. From there on, the class token is a stream of its
own, which reads the patches through a concatenation in each of the last blocks.
"""

from __future__ import annotations

from families.statement import Example, Statement

STATED = Statement(
    family="cait",
    stream=(
        "add",  # the position embedding on the patches
        "blocks.*.add",
        "blocks.*.add_1",
        "blocks_token_only.*.concat",  # the class token before the patches
        "blocks_token_only.*.add",
        "blocks_token_only.*.add_1",
        "concat",  # the same, for the last normalization
    ),
    # The first class attention is added to the class token itself, which is a constant.
    fusable_layers=(
        "blocks.*.attn.proj",
        "blocks.*.mlp.fc2",
        "blocks_token_only.[1-9]*.attn.proj",
        "blocks_token_only.*.mlp.fc2",
    ),
    examples=(
        Example(
            model="cait_xxs24_224",
            arguments={
                "img_size": 16,
                "patch_size": 8,
                "embed_dim": 24,
                "depth": 2,
                "depth_token_only": 2,
                "num_heads": 3,
                "num_classes": 10,
            },
            input_size=(3, 16, 16),
        ),
    ),
)
