# SPDX-License-Identifier: Apache-2.0
"""The known families. A new one is one file beside this, and one row here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatch
from types import MappingProxyType

from aocq.capture.roles import beit, cait, levit, naflex, relpos, swin, swin_v2, vit
from aocq.capture.roles.family import Family


def known_networks(modules: Callable[[str], Iterable[str]]) -> list[str]:
    """Return the names of all networks of known families that can be lowered.

    ``modules`` returns the names of a module of ``timm.models`` (``timm.list_models(module=…)``).
    What timm has for its own tests is left out.
    """
    names = {
        name
        for family in FAMILIES.values()
        for module in family.timm_modules
        for name in modules(module)
        if not any(fnmatch(name, pattern) for pattern in (*family.without, "test_*"))
    }
    return sorted(names)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            *(vit.FAMILY, relpos.FAMILY, naflex.FAMILY),
            *(swin.FAMILY, swin_v2.FAMILY, cait.FAMILY, beit.FAMILY, levit.FAMILY),
        )
    }
)
