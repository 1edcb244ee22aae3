# SPDX-License-Identifier: Apache-2.0
"""What is stated of each known family, a file for each. A new one is a file and a row here."""

from __future__ import annotations

from families import beit, cait, levit, naflex, relpos, swin, swin_v2, vit
from families.statement import Example, Statement

STATED: tuple[Statement, ...] = (
    *(vit.STATED, relpos.STATED, naflex.STATED),
    *(swin.STATED, swin_v2.STATED, cait.STATED, beit.STATED, levit.STATED),
)

# By timm's name of the network.
EXAMPLES: dict[str, Example] = {
    example.model: example for stated in STATED for example in stated.examples
}
