# SPDX-License-Identifier: Apache-2.0
"""One TOML file per NPU: data, no logic. The keys are described in ``docs/profiles.md``."""

from pathlib import Path

FOLDER = Path(__file__).parent
