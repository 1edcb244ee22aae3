# SPDX-License-Identifier: Apache-2.0
"""Operations of choosing classes: the stated counts are what plain Python does."""

from __future__ import annotations

import numpy as np
import pytest

from aocq.tasks import segmentation, segmentation_reference
from aocq.tasks.segmentation_reference import classes_of, real_value


class Counted(float):
    """A real value that counts comparisons with it."""

    compared = 0

    def __gt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) > other


@pytest.mark.parametrize(("tokens", "classes"), [(16, 3), (49, 21), (4, 2)])
def test_choosing_classes_takes_what_is_said(
    tokens: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    def counting(code: int, scale: float, zero_point: int) -> Counted:
        nonlocal made
        made += 1
        return Counted(real_value(code, scale, zero_point))

    monkeypatch.setattr(segmentation_reference, "real_value", counting)
    monkeypatch.setattr(Counted, "compared", 0)
    codes = np.random.default_rng(1).integers(-128, 128, (tokens, classes)).tolist()
    assert len(classes_of(codes, [0.5] * classes, 3)) == tokens
    (work,) = segmentation.TASK.host_work((tokens, classes))
    assert (Counted.compared, made) == (work.operations, work.functions)


def test_classes_are_those_of_the_task() -> None:
    chance = np.random.default_rng(2)
    codes = chance.integers(-3, 4, (200, 5))  # few codes: many are equal
    scales = np.array([0.25, 0.5, 0.25, 1.0, 0.5])
    real = ((codes - 1) * scales).reshape(2, 10, 10, 5)
    wanted = segmentation.classes_of_values(real).reshape(-1).tolist()
    found = classes_of(codes.tolist(), scales.tolist(), 1)
    assert found == wanted
    assert found != codes.argmax(axis=1).tolist()  # codes of two scales say something else
