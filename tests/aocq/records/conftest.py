# SPDX-License-Identifier: Apache-2.0
"""Where tests of records find runs: with the reports that are made of them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "reports"))
