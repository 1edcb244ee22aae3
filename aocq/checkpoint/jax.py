# SPDX-License-Identifier: Apache-2.0
"""Vision transformers as JAX's projects publish them: NumPy archives that timm's networks read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from aocq.checkpoint.content import STATE, shown
from aocq.checkpoint.reading import Checkpoint
from simulator.errors import InputError

# The ends of names whose arrays timm fits to another size, or leaves where classes differ.
PATCH, POSITIONS, CLASSES = "embedding/kernel", ("pos_embedding",), "head/bias"


class _Exactly(TorchFunctionMode):
    """Refuses what torch would repeat to fill a larger tensor."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") == "copy_" and args[0].shape != args[1].shape:
            raise ValueError(f"{tuple(args[1].shape)} is not the shape {tuple(args[0].shape)}")
        return func(*args, **(kwargs or {}))


def read(path: Path, network: nn.Module) -> Checkpoint:
    """Read a NumPy archive as ``network`` reads it; what is not in it is not in the checkpoint.

    Raises
    ------
    InputError
        If the network reads no such files, or the file has other arrays, sizes or classes.
    """
    if not hasattr(network, "load_pretrained"):
        raise InputError(
            f"{path}: is a NumPy archive (.npz) as JAX writes it, and timm reads none into a "
            f"{type(network).__name__}; {STATE}"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # of a damaged archive, NumPy raises whatever comes
        raise InputError(
            f"{path}: damaged or not a checkpoint ({type(error).__name__}: {shown(error)}); "
            "fetch it again"
        ) from error
    _check(arrays, network, path)
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.fill_(torch.nan)  # to see what is left
        try:
            with _Exactly():
                copied.load_pretrained(str(path))  # type: ignore[operator]
        except Exception as error:  # of another network: no such array, or another shape
            raise InputError(
                f"{path}: is a NumPy archive of another network ({type(error).__name__}: "
                f"{shown(error)}); pass its name, or say how it differs: --model-kwargs"
            ) from error
    state: dict[str, Tensor] = copied.state_dict()
    found = {key: tensor for key, tensor in state.items() if not bool(tensor.isnan().all())}
    return Checkpoint(path=path, tensors=found)


def _check(arrays: Mapping[str, Any], network: nn.Module, path: Path) -> None:
    """Raise InputError where timm would make something else of the arrays than weights."""
    for name, array in arrays.items():
        if array.ndim and array.dtype.kind != "f":
            raise InputError(
                f"{path}: {shown(name)} is {array.dtype}, not floating point; use the float "
                "network's checkpoint"
            )
        if array.ndim and not np.isfinite(array).all():
            raise InputError(f"{path}: {shown(name)} has values that are not finite")
    wanted = network.state_dict()
    classes = [array.shape[-1] for name, array in arrays.items() if name.endswith(CLASSES)]
    own = getattr(network, "num_classes", None)
    if classes and own and classes[0] != own:
        raise InputError(
            f"{path}: {CLASSES} has {classes[0]} classes, the network {own}; pass "
            f"--num-classes {classes[0]}"
        )
    for key, ends in (("pos_embed", POSITIONS), ("patch_embed.proj.weight", (PATCH,))):
        size = sorted(wanted[key].shape) if key in wanted else None
        for name, array in arrays.items():
            if name.endswith(ends) and size is not None and sorted(array.shape) != size:
                raise InputError(
                    f"{path}: {shown(name)} has shape {array.shape}, {key} of the network "
                    f"{tuple(wanted[key].shape)}; say the file's size: --model-kwargs img_size=… "
                    "patch_size=… in_chans=…"
                )
