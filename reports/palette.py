# SPDX-License-Identifier: Apache-2.0
"""The colours and markers of figures.

They stay apart in print and for the colour-blind. Each colour has a contrast of at least 3 : 1
against white and against near-black.
"""

from __future__ import annotations

BLUE = ("#3b82c4", "o")
ORANGE = ("#d9542b", "D")
GREEN = ("#2e9e6b", "s")
PURPLE = ("#9a6ad6", "^")
PINK = ("#d14f9a", "v")
TEAL = ("#1a98a6", "P")
OCHRE = ("#a87f26", "X")
GRAY = ("#858c96", "h")
RED = ("#b35c5c", "*")
OLIVE = ("#6f8f1f", "<")
BROWN = ("#96705a", ">")
INDIGO = ("#6471c9", "p")
STREAM = ORANGE[0]  # of the residual stream along the depth
NO_SIGNAL = ORANGE[0]  # of the area below 0 dB, where noise is stronger than the signal
# Lines of one figure, in this order.
SERIES = (BLUE, ORANGE, GREEN, PURPLE, PINK, TEAL, OCHRE, GRAY, OLIVE, RED, INDIGO, BROWN)
HATCH = "#ffffff"  # lines on a bar
# Of bars, where colours come round again.
HATCHES = ("", "///", "...", "xxx")
