# SPDX-License-Identifier: Apache-2.0
"""The record of a network: known as soon as it is loaded, without what runs and judges it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aocq.records.run import ModelRecord
from aocq.zoo.models import LoadedModel


def model_record(model: LoadedModel) -> ModelRecord:
    """Return what a record says of a network."""
    return ModelRecord(
        name=model.name,
        checkpoint_sha256=model.checkpoint_sha256,
        parameters=model.parameters,
        table_bytes=model.table_bytes,
        arguments=_plain(model.arguments),
        preprocessing=_plain(model.preprocessing),
    )


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON gives them back."""
    found: dict[str, Any] = json.loads(json.dumps(dict(settings), default=str, allow_nan=False))
    return found
