# SPDX-License-Identifier: Apache-2.0
"""Tensors of a checkpoint's file by name: where they are in it, and what wraps their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as deserialize
from torch import Tensor

from aocq.checkpoint import pickled
from aocq.checkpoint.content import STATE, Form, form, shown
from aocq.checkpoint.pickled import StandIn
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
    taken, path_to = [], ""
    for _ in range(LEVELS):
        found = [key for key in (*AVERAGED, *RAW) if _holds_tensors(loaded, key)]
        if not found:
            break
        chosen, *others = found
        others += _like(loaded, chosen)
        if others or chosen in AVERAGED:
            averaged = ", a moving average of weights (EMA)" * (chosen in AVERAGED)
            beside = f", not from {' or '.join(others)} beside it" if others else ""
            taken.append(f"weights are taken from {chosen}{averaged}{beside}, as in timm")
        unusable = [key for key in AVERAGED if chosen in RAW and loaded.get(key) is not None]
        if unusable:
            taken.append(f"weights are taken from {chosen}: {unusable[0]} beside it has no weights")
        loaded, path_to = loaded[chosen], f"{path_to}[{chosen!r}]"
    if not isinstance(loaded, Mapping):
        raise _no_state(path, f"it is a {type(loaded).__name__}")
    if not loaded:
        raise _no_state(path, "it is empty")
    for name, value in loaded.items():
        if not isinstance(name, str):
            raise _no_state(path, f"one has a {type(name).__name__} for a name")
        if not isinstance(value, Tensor):
            here = f"{shown(name, 60)} is a {_kind(value)}"
            names = [key for key in loaded if isinstance(key, str)]
            held = [f"checkpoint{path_to}[{key!r}]" for key in names if _has_weights(loaded[key])]
            raise _no_state(path, here, names, held)
    return loaded, tuple(taken)


def _holds_tensors(loaded: Any, key: str) -> bool:
    """Whether an entry has weights among its own entries, or is one level more around them."""
    inner = loaded.get(key) if isinstance(loaded, Mapping) else None
    return _has_weights(inner) or (
        isinstance(inner, Mapping)
        and any(isinstance(inner.get(name), Mapping) for name in (*AVERAGED, *RAW))
    )


def _has_weights(entry: Any) -> bool:
    """Whether tensors are among what an entry holds; single numbers are of a training script."""
    return isinstance(entry, Mapping) and any(
        isinstance(value, Tensor) and value.dim() for value in entry.values()
    )


def _like(loaded: Mapping[Any, Any], chosen: str) -> list[str]:
    """Return which entries under names that timm does not know hold weights of the chosen names."""
    names = _names(loaded[chosen])
    return [
        shown(key, 60)
        for key, value in loaded.items()
        if isinstance(key, str) and key not in {*AVERAGED, *RAW} and names & _names(value)
    ]


def _names(entry: Any) -> set[str]:
    """Return the unwrapped names of an entry's tensors, also of those a few levels down."""
    found: set[str] = set()
    seen: set[int] = set()  # a pickle may hold what holds itself
    levels = [entry]
    for _ in range(LEVELS):
        here = [inner for inner in levels if isinstance(inner, Mapping) and id(inner) not in seen]
        here = list({id(inner): inner for inner in here}.values())
        seen |= {id(inner) for inner in here}
        items = [item for inner in here for item in inner.items()]
        found |= {
            _inner(name)
            for name, value in items
            if isinstance(name, str) and isinstance(value, Tensor) and value.dim()
        }
        levels = [value for _, value in items]
    return found


def _inner(name: str) -> str:
    return PREFIXES.sub("", WITHIN.sub("", name))


# By the last part of what a pickle makes them with.
_NUMPY = {"_reconstruct": "NumPy array", "scalar": "NumPy number"}


def _kind(value: Any) -> str:
    """Return what something is that should be a tensor."""
    kind = type(value).__name__
    if isinstance(value, StandIn) and kind in _NUMPY:
        return f"{_NUMPY[kind]}, not a tensor"
    inner = value.values() if isinstance(value, Mapping) else ()
    arrays = (isinstance(part, StandIn) and type(part).__name__ in _NUMPY for part in inner)
    return kind + " of NumPy arrays" * any(arrays)


def _no_state(
    path: Path, why: str, keys: Sequence[str] = (), held: Sequence[str] = ()
) -> InputError:
    """Return the refusal of what holds no tensors by name; ``held`` names what in it does."""
    among = f" (among {shown(', '.join(keys))})" if len(keys) > 1 else ""
    save = shown(" or ".join(held)) or "the model's state_dict()"
    return InputError(f"{path}: does not hold tensors by name; save {save}: {why}{among}")


def _unwrapped(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in state.items():
        inner = _inner(name)
        if inner in found:
            raise InputError(
                f"{path}: {shown(origin[inner])} and {shown(name)} are the same weights' names; "
                "remove one of them from the state_dict()"
            )
        found[inner], origin[inner] = tensor, name
    return found
