# SPDX-License-Identifier: Apache-2.0
"""Makes the small graphs of the tests of the simulator importable."""

from __future__ import annotations

import sys
from pathlib import Path

_SIMULATOR = Path(__file__).parents[2] / "simulator"
sys.path += [str(_SIMULATOR), str(_SIMULATOR / "cost")]
