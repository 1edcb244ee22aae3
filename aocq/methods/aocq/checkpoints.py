# SPDX-License-Identifier: Apache-2.0
"""Files of finished blocks, with which an interrupted calibration goes on.

A damaged file counts as missing: its block is done again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from aocq.methods.aocq.blocks import Block
from aocq.methods.aocq.rounding import LayerResult, RoundedBlock
from aocq.methods.quantizers import QuantizedWeight, Quantizer
from aocq.methods.storage import quantizer_from_plain, quantizer_to_plain
from aocq.records.kept import keep, kept
from simulator import strict_json

Scales = dict[str, Quantizer]
# Names of tensors that belong to no layer.
_QUANTIZERS, _LOSSES = "|quantizers", "|losses"


def load_scales(work: Path | None, block: Block) -> tuple[Scales | None, list[dict[str, Any]]]:
    """Return a block's quantizers and log from stage 1; (None, []) where it is still to do."""
    content = None if work is None else kept(_scales_path(work, block))
    if content is None:
        return None, []
    try:
        plain = strict_json.loads(content)
    except ValueError:  # numbers that are none: not what a result could hold either
        return None, []
    return _from_plain(plain["quantizers"]), plain["log"]


def save_scales(work: Path | None, block: Block, scales: Scales, log: list[dict[str, Any]]) -> None:
    """Keep a block's quantizers and log."""
    if work is not None:
        plain = {"quantizers": _to_plain(scales), "log": log}
        keep(_scales_path(work, block), json.dumps(plain).encode())


def load_weights(work: Path | None, block: Block) -> RoundedBlock | None:
    """Return a block from stage 2; None where it is still to do."""
    content = None if work is None else kept(_weights_path(work, block))
    if content is None:
        return None
    tensors = load(content)
    layers = {}
    for name in sorted(key.removesuffix("|codes") for key in tensors if key.endswith("|codes")):
        layers[name] = LayerResult(
            weight=QuantizedWeight(
                bits=int(tensors[f"{name}|bits"]),
                codes=tensors[f"{name}|codes"].numpy(),
                scale=tensors[f"{name}|scale"].numpy(),
                alpha=tuple(tensors[f"{name}|alpha"].tolist()),
            ),
            bias=tensors.get(f"{name}|bias"),
            sought=tensors[f"{name}|sought"],
        )
    plain = strict_json.loads(tensors[_QUANTIZERS].numpy().tobytes())
    return RoundedBlock(layers, _from_plain(plain), tuple(tensors[_LOSSES].tolist()))


def save_weights(work: Path | None, block: Block, found: RoundedBlock) -> None:
    """Keep a block's layers and the quantizers learned with them, in one file."""
    if work is None:
        return
    plain = json.dumps(_to_plain(found.quantizers)).encode()
    tensors: dict[str, torch.Tensor] = {
        _QUANTIZERS: torch.tensor(list(plain), dtype=torch.uint8),
        _LOSSES: torch.tensor(found.losses, dtype=torch.float64),
    }
    for name, result in found.layers.items():
        tensors |= {
            f"{name}|bits": torch.tensor(result.weight.bits),
            f"{name}|codes": torch.from_numpy(result.weight.codes),
            f"{name}|scale": torch.from_numpy(result.weight.scale),
            f"{name}|alpha": torch.tensor(result.weight.alpha, dtype=torch.float64),
            f"{name}|sought": result.sought.contiguous(),
        }
        if result.bias is not None:
            tensors[f"{name}|bias"] = result.bias.contiguous()
    keep(_weights_path(work, block), save(tensors))


def _to_plain(scales: Scales) -> dict[str, Any]:
    return {name: quantizer_to_plain(found) for name, found in scales.items()}


def _from_plain(plain: dict[str, Any]) -> Scales:
    return {name: quantizer_from_plain(entry) for name, entry in plain.items()}


def _scales_path(work: Path, block: Block) -> Path:
    return work / f"{block.name}.scales.json"


def _weights_path(work: Path, block: Block) -> Path:
    return work / f"{block.name}.weights.safetensors"
