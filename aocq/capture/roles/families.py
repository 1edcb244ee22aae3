# SPDX-License-Identifier: Apache-2.0
"""The known families. A new one is one file beside this, and one row here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from aocq.capture.roles import beit, cait, levit, swin, vit
from aocq.capture.roles.family import Family

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (vit.FAMILY, swin.FAMILY, cait.FAMILY, beit.FAMILY, levit.FAMILY)
    }
)
