# SPDX-License-Identifier: Apache-2.0
"""``aocq models``: which timm models are of a family that can be lowered."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Annotated

import typer


def command(
    pattern: Annotated[str, typer.Argument(help="shell pattern, e.g. 'deit*'")] = "*",
) -> None:
    """List timm's vision transformers of known families and the bundled demo network.

    The list is by family. Whether every operator of one model can be lowered shows when it is
    captured; the error then names the operator and its place.
    """
    from aocq.torchvision_compat import declare_missing_operators

    declare_missing_operators()  # must come before timm, whose import may fail without it
    import timm

    from aocq.capture.roles import FAMILIES

    modules = [module for family in FAMILIES.values() for module in family.timm_modules]
    names = {name for module in modules for name in timm.list_models(module=module)}
    for name in ["vit_nano_digits", *sorted(names)]:
        if fnmatch(name, pattern):
            print(name)
