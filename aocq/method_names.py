# SPDX-License-Identifier: Apache-2.0
"""What is known of the quantization methods without torch, whose import takes seconds.

:data:`aocq.methods.METHODS` has the functions themselves, in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

METHOD_NAMES = (
    "base_ptq",
    "base_ptq_paper",
    "ptq4vit_paper",
    "ptq4vit_released",
    "fq_vit",
    "aocq",
)
# Methods that leave operators in float unless a recipe says ``float_ops = "integer"``.
LEAVE_FLOATS = frozenset({"base_ptq_paper", "ptq4vit_paper", "ptq4vit_released", "fq_vit"})
# Calibration images in the publications: PTQ4ViT (arXiv 2111.12293, also for its BasePTQ), FQ-ViT
# (arXiv 2111.13824). The time of a Hessian-guided search grows with them.
PUBLISHED_IMAGES: Mapping[str, int] = MappingProxyType(
    {"base_ptq_paper": 32, "ptq4vit_paper": 32, "ptq4vit_released": 32, "fq_vit": 1000}
)


def default_method() -> str:
    """Return the method that is used where none is named."""
    return "aocq"
