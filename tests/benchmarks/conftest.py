# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks' own tests share: they test that peers compute the same, not how fast."""

from __future__ import annotations

import pytest
import torch
from small_subjects import small_subject

from benchmarks.networks import Subject


@pytest.fixture(scope="session")
def subject() -> Subject:
    return small_subject()


@pytest.fixture(autouse=True)
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
