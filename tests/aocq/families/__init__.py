# SPDX-License-Identifier: Apache-2.0
"""What is stated of each known family, a file for each. A new one is a file and a row here."""

from __future__ import annotations

from families import beit, cait, levit, naflex, relpos, swin, vit
from families.statement import Example, Statement

# Not among them: swin_v2, whose l2norm has no integer op yet.
STATED: tuple[Statement, ...] = (
    *(vit.STATED, relpos.STATED, naflex.STATED),
    *(swin.STATED, cait.STATED, beit.STATED, levit.STATED),
)

# By timm's name of the network.
EXAMPLES: dict[str, Example] = {
    example.model: example for stated in STATED for example in stated.examples
}
