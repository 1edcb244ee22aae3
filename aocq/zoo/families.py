# SPDX-License-Identifier: Apache-2.0
"""The families of networks that can be lowered, and which of timm's models belong to them.

Nothing else of the tool asks to which family a network belongs: what its tensors are for is found
in its graph (:mod:`aocq.capture.residual_stream`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Networks of timm that are built alike.

    Attributes
    ----------
    name
        for people
    timm_modules
        modules of ``timm.models`` whose networks belong to it: ``aocq models`` lists them
    without
        shell patterns of their networks that have an operator without a lowering, and are not
        listed
    """

    name: str
    timm_modules: tuple[str, ...]
    without: tuple[str, ...] = ()


_ROWS = (
    Family(
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
    ),
    Family(name="relpos", timm_modules=("vision_transformer_relpos",)),
    Family(
        name="naflex",
        timm_modules=("naflexvit",),
        without=("*_siglip", "*_map"),  # pooled by attention, whose query is a constant
    ),
    Family(name="swin", timm_modules=("swin_transformer",)),
    Family(name="swin_v2", timm_modules=("swin_transformer_v2",)),
    Family(name="cait", timm_modules=("cait",)),
    Family(name="beit", timm_modules=("beit",)),
    Family(
        name="levit",
        timm_modules=("levit",),
        without=("levit_conv_*",),
    ),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _ROWS})


def known_networks(modules: Callable[[str], Iterable[str]]) -> list[str]:
    """Return the names of all networks of known families that can be lowered.

    ``modules`` returns the names of a module of ``timm.models`` (``timm.list_models(module=…)``).
    Networks that timm has for its own tests are left out.
    """
    names = {
        name
        for family in FAMILIES.values()
        for module in family.timm_modules
        for name in modules(module)
        if not any(fnmatch(name, pattern) for pattern in (*family.without, "test_*"))
    }
    return sorted(names)
