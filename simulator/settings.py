# SPDX-License-Identifier: Apache-2.0
"""Model settings as typed on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def typed(settings: Mapping[str, Any]) -> str:
    """Return settings of a model as they are typed: ``img_size=32 depths=2,2,2``."""
    return " ".join(f"{key}={_text(value)}" for key, value in settings.items())


def _text(value: Any) -> str:
    return ",".join(map(_text, value)) if isinstance(value, (list, tuple)) else str(value)
