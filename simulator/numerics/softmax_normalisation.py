# SPDX-License-Identifier: Apache-2.0
"""Division of a softmax's exponentials by their sum."""

from __future__ import annotations

from enum import StrEnum


class Normalisation(StrEnum):
    """Division by the sum of exponentials: by its reciprocal, or of each element."""

    RECIPROCAL = "reciprocal"  # one division per row, one product and shift per element
    DIVISION = "division"  # one division per element
