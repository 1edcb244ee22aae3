# SPDX-License-Identifier: Apache-2.0
"""Makes ``tiny_models`` importable, and captures each variant once for all tests of the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import torch
from tiny_models import NANO, SMALL, input_size, network
from torch import nn

from aocq.capture import FloatGraph, capture

Captured = tuple[nn.Module, FloatGraph]


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Several threads only wait for each other on networks this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def _captured(variant: str, base: str) -> Captured:
    arguments: Mapping[str, Any] = {"small": SMALL, "nano": NANO}[base]
    built = network(variant, arguments)
    return built, capture(built, variant, input_size(arguments))


@pytest.fixture(scope="session")
def small() -> Callable[[str], Captured]:
    """By the name of a variant, its network of two blocks and that network's float graph."""
    return lambda variant: _captured(variant, "small")


@pytest.fixture(scope="session")
def nano() -> Callable[[str], Captured]:
    """The same with one block and the fewest channels."""
    return lambda variant: _captured(variant, "nano")
