# SPDX-License-Identifier: Apache-2.0
"""What networks make of one image, as ``aocq explain`` records it: of classes, and of boxes."""

from __future__ import annotations

import base64
import io
from typing import Any

from built_run import build
from PIL import Image

from aocq.records.explanation import (
    BlockErrors,
    ClassScore,
    Events,
    Explanation,
    Grid,
    NetworkAnswer,
    TokenCounts,
)
from aocq.records.shown_images import ShownBox, ShownImage

GRID = Grid(prefix=1, rows=2, columns=3)


def picture(name: str = "cat.png", **boxes: Any) -> ShownImage:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), (90, 120, 30)).save(buffer, "PNG")
    fields = {"true_boxes": [], "float_boxes": [], "integer_boxes": [], **boxes}
    return ShownImage(
        name=name,
        differs=False,
        width=24,
        height=16,
        media_type="image/png",
        content=base64.b64encode(buffer.getvalue()).decode(),
        **fields,
    )


def answer(engine: str, *numbers: int, name: str = "") -> NetworkAnswer:
    classes = [
        ClassScore(number=number, title=f"{number} {name}".strip(), logit=5.0 - place, share=0.5)
        for place, number in enumerate(numbers)
    ]
    return NetworkAnswer(engine=engine, classes=classes)


def build_explanation(name: str = "", **changes: Any) -> Explanation:
    """Return an image whose classes differ; ``name`` is in every text that a user chooses."""
    _, rows = build(2)
    rows = [
        row.model_copy(update={"differing_codes": 3.0 if row.index == 9 else 0.0}) for row in rows
    ]
    last = rows[-1].op
    fields: dict[str, Any] = {
        "network": f"vit_small{name}",
        "quantized": "aocq W4A8",
        "profile": "edge_npu_int8",
        "graph_sha256": "0" * 64,
        "checkpoint_sha256": "1" * 64,
        "task": "classification",
        "picture": picture(f"cat{name}.png"),
        "answers": [
            answer("float", 7, 2, name=name),
            answer("simulated", 7, 2, name=name),
            answer("integer", 2, 7, name=name),
        ],
        "logit_sqnr_db": 17.5,
        "first_difference": rows[9].op,
        "blocks": [
            BlockErrors(block="blocks.0", tensor="blocks.0.add2", grid=GRID, errors=[0.0] * 7),
            BlockErrors(
                block=f"blocks.1{name}",
                tensor="blocks.1.add2",
                grid=GRID,
                errors=[9.0, 0.1, 0.2, 0.1, 0.1, 0.4, 0.3],
            ),
        ],
        "saturated": Events(
            tokens=[TokenCounts(grid=GRID, counts=[1, 0, 0, 4, 0, 0, 2])],
            placed={f"blocks.0.add2{name}": 7},
            elsewhere={last: 5},
        ),
        "overflowed": Events(tokens=[], placed={}, elsewhere={}),
        "ops": rows,
    }
    return Explanation(**(fields | changes))


def build_explanation_of_boxes() -> Explanation:
    """Return an image in which both networks find a box, the integer one somewhere else."""
    box = ShownBox(name="class 3", left=2, top=2, right=12, bottom=9, score=0.8)
    moved = box.model_copy(update={"left": 4.0, "score": 0.4})
    shown = picture(float_boxes=[box], integer_boxes=[moved])
    return build_explanation(answers=[], picture=shown, task="detection")
