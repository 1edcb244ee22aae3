# SPDX-License-Identifier: Apache-2.0
"""The fit of a checkpoint and a network: every tensor that it wants, none that it has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn

from aocq.checkpoint.content import shown
from aocq.checkpoint.conversion import Converted, convert
from aocq.checkpoint.values import WANTED

NOT_PART = " is not part of the model"
# What networks compute themselves and old checkpoints hold: indices, masks, coordinates, counts.
TABLES = (
    *("*relative_position_index", "*attn_mask", "*relative_coords_table", "*attention_bias_idxs"),
    *("*num_batches_tracked", "*rel_coords_log"),
)
# (pattern of models, pattern of tensors) that timm's loading is not strict about
NOT_WANTED = (("*siglip*", "attn_pool.*"),)
# Tables of float16 checkpoints, and of other versions' arithmetic.
RELATIVE, ABSOLUTE = 1e-2, 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A checkpoint's tensors beside a network's.

    Attributes
    ----------
    tensors
        under the network's names
    missing, unknown, shapes, values
        what does not fit, each a sentence; nothing where the checkpoint is the network's
    notes
        sentences: what was made to fit, and what was left out
    """

    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """All that does not fit."""
        return (*self.missing, *self.unknown, *self.shapes, *self.values)


def fit(
    tensors: Mapping[str, Tensor],
    network: nn.Module,
    name: str,
    arguments: Mapping[str, Any],
) -> Fit:
    """Hold a checkpoint's tensors against those that a network wants.

    What has the network's names and shapes is taken as it is; anything else as timm converts it.
    ``network`` may be on torch's device ``meta``: shapes are all that is asked for.
    """
    wanted = network.state_dict()
    own = _without_tables(tensors, wanted)
    found = Converted(tensors=own)
    if _differ(own, wanted):
        found = convert(tensors, network, name, arguments)
    there = _without_tables(found.tensors, wanted)
    spare = [key for key in there if key not in wanted and _not_wanted(name, key)]
    there = {key: tensor for key, tensor in there.items() if key not in spare}
    missing = [key for key in wanted if key not in there and not _is_table(key)]
    both = [key for key in wanted if key in there]
    return Fit(
        tensors={key: there[key] for key in both},
        missing=tuple(f"{key} is missing" for key in missing),
        unknown=tuple(f"{shown(key)}{NOT_PART}" for key in there if key not in wanted),
        shapes=tuple(
            f"{key} has shape {tuple(there[key].shape)}, the model wants {tuple(wanted[key].shape)}"
            for key in both
            if there[key].shape != wanted[key].shape
        ),
        values=(*_kinds(there, wanted), *_other_tables(tensors, network)),
        notes=_notes(found, tensors, spare),
    )


def _without_tables(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if key in wanted or not _is_table(key)}


def _is_table(key: str) -> bool:
    return any(fnmatch(key, pattern) for pattern in TABLES)


def _not_wanted(name: str, key: str) -> bool:
    return any(fnmatch(name, model) and fnmatch(key, tensor) for model, tensor in NOT_WANTED)


def _differ(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    """Whether names or shapes are others than a network's own."""
    names = {key for key in wanted if key in tensors or not _is_table(key)}
    return names != set(tensors) or any(tensors[key].shape != wanted[key].shape for key in names)


def _kinds(there: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Return what tensors of another kind of number are: a cast would make something of them."""
    found = []
    coded: dict[str, list[str]] = {}
    for key, tensor in there.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if key not in wanted or tensor.dtype == torch.float32:
            continue
        if tensor.dtype.is_complex:
            found.append(f"{key} is complex ({dtype}), weights are real")
        elif wanted[key].is_floating_point():
            coded.setdefault(dtype, []).append(key)
    for dtype, keys in coded.items():
        more = f" and {len(keys) - 1} more are" if len(keys) > 1 else " is"
        found.append(f"{keys[0]}{more} {dtype}, as of a quantized or coded network; {WANTED}")
    return found


def _other_tables(tensors: Mapping[str, Tensor], network: nn.Module) -> list[str]:
    """Return which tables of a file have other values than those that the network computes."""
    found = []
    for key, table in network.named_buffers():
        given = tensors.get(key)
        if given is None or not _is_table(key) or key.endswith("num_batches_tracked"):
            continue
        # Another shape is that of another image size.
        if table.is_meta or given.shape != table.shape or given.is_complex():
            continue
        if not torch.allclose(given.float(), table.float(), rtol=RELATIVE, atol=ABSOLUTE):
            found.append(f"{key} has other values than those that timm computes")
    return found


def _notes(
    found: Converted,
    tensors: Mapping[str, Tensor],
    spare: Sequence[str],
) -> tuple[str, ...]:
    notes = []
    if found.resampled:
        first = found.resampled[0]
        was = f"{tuple(tensors[first].shape)} to " if first in tensors else ""
        more = f" and {len(found.resampled) - 1} more" if len(found.resampled) > 1 else ""
        notes.append(
            f"{first}{more} resampled from {was}{tuple(found.tensors[first].shape)}, as timm does "
            "where another size is asked for; a network trained at that size needs no such change"
        )
    left_out = [key for key in (*found.left_out, *spare) if not _is_table(key)]
    if left_out:
        listed = shown(", ".join(left_out[:3])) + ", …" * (len(left_out) > 3)
        counted = f"{len(left_out)} tensors are" if len(left_out) > 1 else "1 tensor is"
        notes.append(f"{counted} left out, which timm has no use for ({listed})")
    return tuple(notes)
