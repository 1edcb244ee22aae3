# SPDX-License-Identifier: Apache-2.0
"""Images in parts, by threads: every one once, in order, as one thread would have it."""

from __future__ import annotations

from collections.abc import Iterator
from threading import get_ident

import pytest
import torch

from aocq.capture.parts import IMAGES_AT_ONCE, IMAGES_ELSEWHERE, in_threads, parts_of


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    configured = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(configured)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 130])
def test_parts_cover_all_images_in_order(count: int, device: str) -> None:
    parts = parts_of(count, device)
    assert [index for part in parts for index in range(part.start, part.stop)] == [*range(count)]
    most = IMAGES_AT_ONCE.get(device, IMAGES_ELSEWHERE)
    assert all(0 < part.stop - part.start <= most for part in parts)


def test_results_come_in_order_and_every_call_has_one_core(threads: int) -> None:
    found = in_threads(lambda item: (item * item, torch.get_num_threads()), range(20))
    assert [square for square, _ in found] == [item * item for item in range(20)]
    assert {cores for _, cores in found} == {1}
    assert torch.get_num_threads() == threads


def test_a_gpu_is_driven_by_the_thread_that_asks(threads: int) -> None:
    assert set(in_threads(lambda item: get_ident(), range(4), "cuda")) == {get_ident()}


def test_calls_may_be_nested(threads: int) -> None:
    def inner(item: int) -> list[int]:
        return in_threads(lambda other: 10 * item + other, range(3))

    assert in_threads(inner, range(2)) == [[0, 1, 2], [10, 11, 12]]


@pytest.mark.parametrize("grad", [True, False])
def test_gradients_are_recorded_where_the_caller_does(grad: bool, threads: int) -> None:
    weight = torch.ones(2, requires_grad=True)
    with torch.set_grad_enabled(grad):
        found = in_threads(lambda item: item * weight, [1.0, 2.0])
    assert [x.requires_grad for x in found] == [grad, grad]
    with torch.inference_mode():
        found = in_threads(lambda item: item * weight, [1.0, 2.0])
    assert all(x.is_inference() for x in found)


def test_what_goes_wrong_is_raised(threads: int) -> None:
    def refuse(item: int) -> int:
        if item in {2, 3}:
            raise ValueError(f"item {item}")
        return item

    with pytest.raises(ValueError, match="item 2"):
        in_threads(refuse, range(5))
    assert torch.get_num_threads() == threads
