# SPDX-License-Identifier: Apache-2.0
"""LeViT (arXiv 2104.01136): a stem of convolutions, then tokens that become fewer in each stage.

BatchNorm takes the place of layer normalization and is multiplied into the layers at capture, so
that the stream is told by its sums alone. It starts at the last convolution, and anew where
attention asks with every fourth token.
"""

from __future__ import annotations

from families.statement import Example, Statement

STATED = Statement(
    family="levit",
    stream=(
        "stem.conv4.linear",
        "stages.*.downsample.attn_downsample.proj.ln.linear",
        "stages.*.downsample.add",
        "stages.*.blocks.*.add",
        "stages.*.blocks.*.add_1",
    ),
    fusable_layers=(
        "stages.*.blocks.*.attn.proj.ln.linear",
        "stages.*.downsample.mlp.ln2.linear",
        "stages.*.blocks.*.mlp.ln2.linear",
    ),
    # 4 x 4 tokens, then 2 x 2; two heads, whose averages are the logits.
    examples=(
        Example(
            model="levit_128s",
            arguments={
                "img_size": 64,
                "embed_dim": (16, 24),
                "key_dim": 4,
                "num_heads": (2, 3),
                "depth": (1, 1),
                "num_classes": 10,
            },
            input_size=(3, 64, 64),
        ),
    ),
)
