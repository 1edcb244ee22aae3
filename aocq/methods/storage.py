# SPDX-License-Identifier: Apache-2.0
"""A QuantizedModel as two files: ``quantized.json`` and ``quantized.safetensors``.

The float weights that were quantized are not stored: their codes and scales are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.methods.quantized_model import QuantizedModel, Recipe
from aocq.methods.quantizers import (
    ActivationQuantizer,
    LevelQuantizer,
    QuantizedWeight,
    Quantizer,
)
from simulator.errors import InputError
from simulator.files import replace_file, write_text
from simulator.numerics.integer_type import IntType

FORMAT = 2
JSON_NAME = "quantized.json"
TENSORS_NAME = "quantized.safetensors"


def save(model: QuantizedModel, folder: Path) -> None:
    """Write both files into ``folder``, the JSON last: it names the hash of the other."""
    tensors = {
        f"float/{name}": tensor.contiguous()
        for name, tensor in model.graph.parameters.items()
        if name not in model.weights
    }
    for name, weight in model.weights.items():
        tensors[f"codes/{name}"] = torch.from_numpy(weight.codes)
        tensors[f"scale/{name}"] = torch.from_numpy(weight.scale)
    with replace_file(folder / TENSORS_NAME) as temporary:
        temporary.write_bytes(serialize(tensors))
    plain = {
        "format": FORMAT,
        "name": model.graph.name,
        "method": model.method,
        "recipe": model.recipe.model_dump(),
        "calibration_images": model.calibration_images,
        "nodes": [_node_to_plain(node) for node in model.graph.nodes],
        "activations": {
            name: quantizer_to_plain(quantizer) for name, quantizer in model.activations.items()
        },
        "weights": {
            name: {"bits": weight.bits, "alpha": list(weight.alpha)}
            for name, weight in model.weights.items()
        },
        "parts": {name: quantizer_to_plain(part) for name, part in model.parts.items()},
        "log": [dict(entry) for entry in model.log],
        "meta": dict(model.meta),
        "tensors_sha256": _file_hash(folder / TENSORS_NAME),
    }
    write_text(folder / JSON_NAME, json.dumps(plain, indent=1, sort_keys=True) + "\n")


def load(folder: Path) -> QuantizedModel:
    """Read what :func:`save` wrote.

    Raises
    ------
    InputError
        If a file is missing, damaged, of another format, or the two do not belong together.
    """
    json_path, tensors_path = folder / JSON_NAME, folder / TENSORS_NAME
    try:
        plain = json.loads(json_path.read_text(encoding="utf-8"))
        if plain["format"] != FORMAT or plain["tensors_sha256"] != _file_hash(tensors_path):
            raise ValueError(f"format or {TENSORS_NAME} do not match")
        return _from_plain(plain, load_file(tensors_path))
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: not found; a quantized model is what `aocq quantize --out` writes"
        ) from error
    except (
        SafetensorError,
        ValidationError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(
            f"{json_path}: not a quantized model of format {FORMAT} ({error}); quantize again"
        ) from error


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def quantizer_to_plain(quantizer: Quantizer) -> dict[str, Any]:
    """Return a quantizer as JSON holds it."""
    if isinstance(quantizer, LevelQuantizer):
        return {
            "levels": list(quantizer.levels),
            "thresholds": list(quantizer.thresholds),
            "scale": quantizer.scale,
            "bits": quantizer.bits,
        }
    return {
        "type": str(quantizer.type),
        "scale": quantizer.scale,
        "zero_point": quantizer.zero_point,
        "alpha": list(quantizer.alpha),
        "axis": quantizer.axis,
        "table_scale": quantizer.table_scale,
    }


def quantizer_from_plain(plain: dict[str, Any]) -> Quantizer:
    """Return the quantizer that :func:`quantizer_to_plain` wrote."""
    if "levels" in plain:
        return LevelQuantizer(
            levels=tuple(plain["levels"]),
            thresholds=tuple(plain["thresholds"]),
            scale=plain["scale"],
            bits=plain["bits"],
        )
    return _activation_quantizer(plain)


def _activation_quantizer(plain: dict[str, Any]) -> ActivationQuantizer:
    return ActivationQuantizer(
        type=IntType.parse(plain["type"]),
        scale=plain["scale"],
        zero_point=plain["zero_point"],
        alpha=tuple(plain["alpha"]),
        axis=plain["axis"],
        table_scale=plain["table_scale"],
    )


def _node_to_plain(node: FloatNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "op": node.op.value,
        "inputs": list(node.inputs),
        "attributes": dict(node.attributes),
        "shape": list(node.shape),
    }


def _node_from_plain(plain: dict[str, Any]) -> FloatNode:
    attributes = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in plain["attributes"].items()
    }
    return FloatNode(
        name=plain["name"],
        op=FloatOp(plain["op"]),
        inputs=tuple(plain["inputs"]),
        attributes=MappingProxyType(attributes),
        shape=tuple(plain["shape"]),
    )


def _from_plain(plain: dict[str, Any], tensors: dict[str, torch.Tensor]) -> QuantizedModel:
    prefix = "float/"
    graph = FloatGraph(
        name=plain["name"],
        nodes=tuple(_node_from_plain(node) for node in plain["nodes"]),
        parameters={
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        },
    )
    model = QuantizedModel(
        graph=graph,
        method=plain["method"],
        recipe=Recipe.model_validate(plain["recipe"]),
        activations={
            name: quantizer_from_plain(entry) for name, entry in plain["activations"].items()
        },
        weights={
            name: QuantizedWeight(
                bits=entry["bits"],
                codes=tensors[f"codes/{name}"].numpy().astype(np.int8),
                scale=tensors[f"scale/{name}"].numpy().astype(np.float64),
                alpha=tuple(entry["alpha"]),
            )
            for name, entry in plain["weights"].items()
        },
        calibration_images=plain["calibration_images"],
        log=tuple(plain["log"]),
        meta=plain["meta"],
        parts={
            name: _activation_quantizer(entry) for name, entry in plain.get("parts", {}).items()
        },
    )
    # With the stored codes in place of the float weights, the graph runs as it is.
    return replace(
        model,
        graph=replace(
            graph,
            parameters={
                **graph.parameters,
                **{name: weight.dequantized().float() for name, weight in model.weights.items()},
            },
        ),
    )
