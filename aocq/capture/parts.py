# SPDX-License-Identifier: Apache-2.0
"""Images in parts of a few each, whose tensors stay in a CPU's caches, and one part per thread.

A part is computed by one thread alone. Torch's own threads would share every single operation, and
wait for each other as often; and a sum would depend on how many share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

# Of a small ViT, so many images' tensors stay in a CPU's caches; 32 at once took twice as long.
# A GPU is busy with more only.
IMAGES_AT_ONCE = {"cpu": 4}
IMAGES_ELSEWHERE = 64

Item = TypeVar("Item")
Result = TypeVar("Result")


def parts_of(images: int, device: str = "cpu") -> list[slice]:
    """Return slices of a few images each that cover ``images`` in order.

    ``device`` is torch's type of device that computes them.
    """
    step = IMAGES_AT_ONCE.get(device, IMAGES_ELSEWHERE)
    return [slice(start, min(start + step, images)) for start in range(0, images, step)]


@contextmanager
def one_thread() -> Iterator[int]:
    """Let torch compute by one thread, and yield how many it had, for :func:`in_threads`.

    Of many short operations: torch's threads wait for each other by turning in circles, which takes
    processor time from whatever else runs.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    device: str = "cpu",
    *,
    threads: int | None = None,
) -> list[Result]:
    """Return ``function`` of every item, in their order, by as many threads as torch has.

    By ``threads`` of them, if that is given.
    Each call computes on one core, under the caller's grad and inference mode. On a GPU, whose
    driver is one, and where there is only one thread or item, the caller's thread does it all.

    Raises
    ------
    Exception
        What ``function`` raises for the first item for which it does.
    """
    before = torch.get_num_threads()
    workers = min(threads or before, len(items)) if device == "cpu" else 1
    if workers < 2:
        return [function(item) for item in items]
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def call(item: Item) -> Result:
        torch.set_num_threads(1)  # of this thread, but also of those that start later
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):
            return function(item)

    try:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(call, items))
    finally:
        torch.set_num_threads(before)
