# SPDX-License-Identifier: Apache-2.0
"""BEiT (arXiv 2106.08254) and BEiT v2: a bias of relative positions for each head, LayerScale.

The bias is looked up in a table, and the biases of q, k and v are joined: both are constants, and
computed at capture.
"""

from __future__ import annotations

from families.statement import Example, Statement

STATED = Statement(
    family="beit",
    # Tokens joined, then one sum behind each branch; positions are in the attention only.
    stream=("concat", "blocks.*.add", "blocks.*.add_1"),
    fusable_layers=("blocks.*.attn.proj", "blocks.*.mlp.fc2"),
    examples=(
        Example(
            model="beit_base_patch16_224",
            arguments={
                "img_size": 16,
                "patch_size": 8,
                "embed_dim": 24,
                "depth": 2,
                "num_heads": 3,
                "num_classes": 10,
            },
            input_size=(3, 16, 16),
        ),
    ),
)
