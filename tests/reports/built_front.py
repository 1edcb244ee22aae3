# SPDX-License-Identifier: Apache-2.0
"""Designs of a front, made of few figures."""

from __future__ import annotations

from typing import Any

from reports.front import Design
from reports.rows import TableRow

DIGEST = "50ff" * 16


def design(name: str, drop: float | None, latency: float | None, **more: Any) -> Design:
    """Return a run on 64 images with a drop, a latency and 1,000 bytes of constants."""
    page, misfit = more.pop("page", ""), more.pop("misfit", "")
    ran: dict[str, Any] = {}
    if drop is not None:
        ran = {"delta": -drop, "integer_score": 70.0 - drop, "float_score": 70.0}
        ran |= {"images": 64, "data": "val", "classes": 10, "data_digest": DIGEST}
        ran |= {"agreement": 99.0, "logit_sqnr_db": 20.0, "checkpoint": "c0ffee" * 10 + "beef"}
    figures = {"latency_ms": latency, "weight_bytes": 1000, "cycles": 5, **ran, **more}
    row = TableRow(model="vit", method="aocq", w_bits=8, a_bits=8, **figures)
    return Design(name=name, row=row, page=page, misfit=misfit)
