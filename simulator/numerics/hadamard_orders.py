# SPDX-License-Identifier: Apache-2.0
"""The largest order of a Hadamard matrix: options state it before numpy is imported."""

from __future__ import annotations

from typing import Final

LARGEST_ORDER: Final = 8192
