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
from aocq.methods.aocq.rounding import LayerResult
from aocq.methods.quantizers import QuantizedWeight, Quantizer
from aocq.methods.storage import quantizer_from_plain, quantizer_to_plain
from aocq.records.kept import keep, kept
from simulator import strict_json

Scales = dict[str, Quantizer]


def load_scales(work: Path | None, block: Block) -> tuple[Scales | None, list[dict[str, Any]]]:
    """Return a block's quantizers and log from stage 1; (None, []) where it is still to do."""
    content = None if work is None else kept(_scales_path(work, block))
    if content is None:
        return None, []
    try:
        plain = strict_json.loads(content)
    except ValueError:  # numbers that are none: not what a result could hold either
        return None, []
    found = {name: quantizer_from_plain(entry) for name, entry in plain["quantizers"].items()}
    return found, plain["log"]


def save_scales(work: Path | None, block: Block, scales: Scales, log: list[dict[str, Any]]) -> None:
    """Keep a block's quantizers and log."""
    if work is not None:
        plain = {
            "quantizers": {name: quantizer_to_plain(found) for name, found in scales.items()},
            "log": log,
        }
        keep(_scales_path(work, block), json.dumps(plain).encode())


def load_weights(work: Path | None, block: Block) -> dict[str, LayerResult]:
    """Return a block's layers by node name from stage 2; none where it is still to do."""
    content = None if work is None else kept(_weights_path(work, block))
    if content is None:
        return {}
    tensors = load(content)
    results = {}
    for name in sorted(key.removesuffix("|codes") for key in tensors if key.endswith("|codes")):
        results[name] = LayerResult(
            weight=QuantizedWeight(
                bits=int(tensors[f"{name}|bits"]),
                codes=tensors[f"{name}|codes"].numpy(),
                scale=tensors[f"{name}|scale"].numpy(),
                alpha=tuple(tensors[f"{name}|alpha"].tolist()),
            ),
            bias=tensors.get(f"{name}|bias"),
            sought=tensors[f"{name}|sought"],
        )
    return results


def save_weights(work: Path | None, block: Block, results: dict[str, LayerResult]) -> None:
    """Keep a block's layers."""
    if work is None:
        return
    tensors: dict[str, torch.Tensor] = {}
    for name, result in results.items():
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


def _scales_path(work: Path, block: Block) -> Path:
    return work / f"{block.name}.scales.json"


def _weights_path(work: Path, block: Block) -> Path:
    return work / f"{block.name}.weights.safetensors"
