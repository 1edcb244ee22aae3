# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's tensors as plain float32, or what they are instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aocq.checkpoint.content import shown
from simulator.errors import InputError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WANTED = "--weights wants a float network's (float32, float16, bfloat16 or float64)"
# Numbers for each byte of a file: float8 has one. What says more repeats a few of them.
NUMBERS_PER_BYTE = 4
SLACK = 1 << 20


def plain(tensors: Mapping[str, Any], path: Path, size: int) -> dict[str, Tensor]:
    """Return tensors of a file of ``size`` bytes: floats as float32, others as they are.

    Raises
    ------
    InputError
        If one is stored in another way than number by number, together they are of more numbers
        than the file can hold, or a float64 is beyond float32.
    """
    for name, tensor in tensors.items():
        if kind := _unusual(tensor):
            raise InputError(f"{path}: {shown(name)} is {kind}; {WANTED}")
    numbers = {name: tensor.numel() for name, tensor in tensors.items()}
    if sum(numbers.values()) > NUMBERS_PER_BYTE * size + SLACK:
        largest = max(numbers, key=lambda name: numbers[name])
        raise InputError(
            f"{path}: has {size:,} bytes for {sum(numbers.values()):,} numbers (the most in "
            f"{shown(largest)}): few are repeated; save clones of its tensors"
        )
    return {name: _float32(tensor, name, path) for name, tensor in tensors.items()}


def _unusual(tensor: Tensor) -> str:
    """Return what a tensor is that is not stored number by number; nothing of any other."""
    if tensor.is_nested:
        return "a nested tensor, one of several shapes"
    if tensor.layout is not torch.strided:
        return "a sparse tensor"
    if tensor.is_quantized:
        return "a quantized tensor"
    if tensor.device.type != "cpu":
        return f"a tensor without values (on device {tensor.device.type})"
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"a tensor of a kind of its own ({type(tensor).__name__})"
    return ""


def _float32(tensor: Tensor, name: str, path: Path) -> Tensor:
    detached = Tensor.detach(tensor)  # without what was pinned to it
    if detached.dtype not in FLOATS:
        return detached
    found = detached.to(torch.float32).contiguous()
    if detached.dtype == torch.float64:
        beyond = int((found.isinf() & detached.isfinite()).sum())
        if beyond:
            raise InputError(
                f"{path}: {shown(name)} has {beyond} value{'s' * (beyond > 1)} beyond float32's "
                "range; use a checkpoint of a sound training run"
            )
    return found
