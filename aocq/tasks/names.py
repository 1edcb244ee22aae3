# SPDX-License-Identifier: Apache-2.0
"""Names of tasks and the modules that have them, known without numpy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CLASSIFICATION = "classification"
# A task is a module with a ``TASK``, which is imported when it is asked for.
MODULES: Mapping[str, str] = MappingProxyType(
    {
        CLASSIFICATION: "aocq.tasks.classification",
        "detection": "aocq.tasks.detection",
        "segmentation": "aocq.tasks.segmentation",
    }
)
