# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint's file to tensors by name: where they are in it, and what wraps their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as deserialize
from torch import Tensor

from aocq.checkpoint import pickled
from aocq.checkpoint.content import STATE, Form, form, shown
from aocq.checkpoint.values import plain
from simulator.errors import InputError
from simulator.reading import read_safetensors

# Where training scripts put a network's weights, in timm's order: it prefers the moving average.
AVERAGED = ("state_dict_ema", "model_ema", "ema")
RAW = ("state_dict", "model", "module")
# timm's filters look two levels down; a file whose levels have no end is none.
LEVELS = 4
# What wrappers of a whole network put before every name, in any order, and in its middle.
PREFIXES = re.compile(r"^(?:(?:module|_orig_mod|model)\.)+")
WITHIN = re.compile(r"(?<=\.)(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Tensors by name, floats as float32.

    Attributes
    ----------
    taken
        sentences: which weights they are, where the file has several
    """

    path: Path
    tensors: Mapping[str, Tensor]
    taken: tuple[str, ...] = ()


def read(path: Path) -> Checkpoint:
    """Read a checkpoint, of whatever suffix; code in it is never run.

    Raises
    ------
    InputError
        If the file is missing, damaged or something else, or its tensors are no plain ones.
    """
    kind = form(path)
    if kind is Form.ARRAYS:
        raise InputError(
            f"{path}: is a NumPy archive (.npz), not tensors by name; load it in timm and {STATE}"
        )
    if kind is Form.PICKLED:
        loaded = pickled.load(path)
    else:
        try:
            loaded = deserialize(read_safetensors(path))
        except InputError:
            raise
        except Exception as error:  # SafetensorError, and what an unknown type makes of it
            raise InputError(
                f"{path}: damaged or not a checkpoint ({type(error).__name__}: {shown(error)}); "
                "fetch it again"
            ) from error
    state, taken = _state(loaded, path)
    named = _unwrapped(state, path)
    return Checkpoint(path=path, tensors=plain(named, path, path.stat().st_size), taken=taken)


def _state(loaded: Any, path: Path) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """Return the tensors by name in what a file holds, and which of several they are."""
    taken = []
    for _ in range(LEVELS):
        found = [key for key in (*AVERAGED, *RAW) if _holds_tensors(loaded, key)]
        if not found:
            break
        chosen, *others = found
        if others or chosen in AVERAGED:
            averaged = ", a moving average of weights (EMA)" * (chosen in AVERAGED)
            beside = f", not from {' or '.join(others)} beside it" if others else ""
            taken.append(f"weights are taken from {chosen}{averaged}{beside}, as in timm")
        unusable = [key for key in AVERAGED if chosen in RAW and loaded.get(key) is not None]
        if unusable:
            taken.append(f"weights are taken from {chosen}: {unusable[0]} beside it has no tensors")
        loaded = loaded[chosen]
    if not isinstance(loaded, Mapping):
        raise _no_state(path, f"it is a {type(loaded).__name__}")
    if not loaded:
        raise _no_state(path, "it is empty")
    for name, value in loaded.items():
        if not isinstance(name, str):
            raise _no_state(path, f"one has a {type(name).__name__} for a name")
        if not isinstance(value, Tensor):
            here = f"{shown(name, 60)} is a {type(value).__name__}"
            raise _no_state(path, here, [key for key in loaded if isinstance(key, str)])
    return loaded, tuple(taken)


def _holds_tensors(loaded: Any, key: str) -> bool:
    """Whether an entry has tensors among its own entries, or is one level more around them."""
    inner = loaded.get(key) if isinstance(loaded, Mapping) else None
    return isinstance(inner, Mapping) and any(
        isinstance(value, Tensor) or (name in {*AVERAGED, *RAW} and isinstance(value, Mapping))
        for name, value in inner.items()
    )


def _no_state(path: Path, why: str, keys: list[str] | None = None) -> InputError:
    among = f" (among {shown(', '.join(keys))})" if keys and len(keys) > 1 else ""
    return InputError(
        f"{path}: does not hold tensors by name; save the model's state_dict(): {why}{among}"
    )


def _unwrapped(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in state.items():
        inner = PREFIXES.sub("", WITHIN.sub("", name))
        if inner in found:
            raise InputError(
                f"{path}: {shown(origin[inner])} and {shown(name)} are the same weights' names; "
                "remove one of them from the state_dict()"
            )
        found[inner], origin[inner] = tensor, name
    return found
