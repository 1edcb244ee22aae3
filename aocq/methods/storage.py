# SPDX-License-Identifier: Apache-2.0
"""Files of a QuantizedModel: ``quantized.json`` and ``quantized.safetensors``.

Of weights that were quantized, codes and scales are stored, and no float values. Writing applies
the checks of reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import Tensor

from aocq.capture import FloatGraph, FloatNode
from aocq.capture.verify import parameters_of
from aocq.methods.quantized_file import (
    FORMAT,
    QuantizedFile,
    WeightEntry,
    checked,
    written,
)
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.quantizer_entries import quantizer_from_plain, quantizer_to_plain
from aocq.methods.quantizers import QuantizedWeight
from aocq.methods.verify_quantized import verify, weight_problems
from simulator import strict_json
from simulator.errors import InputError
from simulator.files import replace_file, write_text
from simulator.graph.names import printable
from simulator.reading import read_safetensors, read_text

__all__ = ["FORMAT", "load", "quantizer_from_plain", "quantizer_to_plain", "save"]

JSON_NAME = "quantized.json"
TENSORS_NAME = "quantized.safetensors"
PARAMETERS, CODES, SCALES = "float/", "codes/", "scale/"  # what names of tensors begin with


def save(model: QuantizedModel, folder: Path) -> None:
    """Write both files into ``folder``, the JSON last: it names the hash of the other.

    Raises
    ------
    InputError
        If the model breaks a rule of :func:`load` (a calibration that met values that are not
        finite, say): nothing is written then.
    """
    content = serialize(_tensors(model))
    plain = _to_plain(model, hashlib.sha256(content).hexdigest())
    try:
        checked(plain)
        verify(model)
        text = written(plain)
    except (InputError, ValueError) as error:
        raise InputError(
            f"{model.graph.name}: what {model.method} decided is no quantized model ({error}); "
            "check the checkpoint and the calibration images"
        ) from error
    with replace_file(folder / TENSORS_NAME) as temporary:
        temporary.write_bytes(content)
    write_text(folder / JSON_NAME, text)


def load(folder: Path) -> QuantizedModel:
    """Read what :func:`save` wrote.

    Raises
    ------
    InputError
        If a file is missing, damaged, of another format, the two do not belong together, or what
        they say is not possible: the message names the first place.
    """
    json_path, tensors_path = folder / JSON_NAME, folder / TENSORS_NAME
    try:
        file = checked(strict_json.loads(read_text(json_path)))
        content = read_safetensors(tensors_path)
        if file.tensors_sha256 != hashlib.sha256(content).hexdigest():
            raise ValueError(f"tensors_sha256 and {TENSORS_NAME} do not match")
        model = _from_file(file, _read_tensors(content))
        verify(model)
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: not found; a quantized model is what `aocq quantize --out` writes"
        ) from error
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be read ({error.strerror or error}); name the "
            "folder of a quantized model"
        ) from error
    except (InputError, ValueError) as error:
        raise InputError(
            f"{json_path}: not a quantized model of format {FORMAT} ({error}); quantize again"
        ) from error
    return model


# --- to plain values and tensors ------------------------------------------------------------------


def _tensors(model: QuantizedModel) -> dict[str, Tensor]:
    tensors = {
        f"{PARAMETERS}{name}": tensor.contiguous()
        for name, tensor in model.graph.parameters.items()
        if name not in model.weights
    }
    for name, weight in model.weights.items():
        tensors[f"{CODES}{name}"] = torch.from_numpy(weight.codes)
        tensors[f"{SCALES}{name}"] = torch.from_numpy(weight.scale)
    return tensors


def _to_plain(model: QuantizedModel, tensors_sha256: str) -> dict[str, Any]:
    own = {"sources": asdict(model.sources)} if model.sources else {}
    return {
        **own,
        "format": FORMAT,
        "name": model.graph.name,
        "method": model.method,
        "recipe": model.recipe.plain(),
        "limits": model.limits.plain(),
        "calibration_images": model.calibration_images,
        "nodes": [_node_to_plain(node) for node in model.graph.nodes],
        "activations": {
            name: quantizer_to_plain(quantizer) for name, quantizer in model.activations.items()
        },
        "weights": {
            name: {"bits": weight.bits, "alpha": list(weight.alpha)}
            for name, weight in model.weights.items()
        },
        "parts": {
            name: quantizer_to_plain(part) for name, part in model.layernorm_quantizers.items()
        },
        "log": [dict(entry) for entry in model.log],
        "meta": dict(model.meta),
        "tensors_sha256": tensors_sha256,
    }


def _node_to_plain(node: FloatNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "op": node.op.value,
        "inputs": list(node.inputs),
        "attributes": dict(node.attributes),
        "shape": list(node.shape),
    }


# --- and back -------------------------------------------------------------------------------------


def _read_tensors(content: bytes) -> dict[str, Tensor]:
    try:
        return deserialize(content)
    # Some types of safetensors are none of torch's.
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        reason = printable(f"{type(error).__name__}: {error}")
        raise ValueError(f"{TENSORS_NAME}: {reason}") from error


def _from_file(file: QuantizedFile, tensors: Mapping[str, Tensor]) -> QuantizedModel:
    nodes = tuple(entry.node() for entry in file.nodes)
    _tensors_are_as_declared(nodes, file, tensors)
    weights = {name: _weight(name, entry, tensors) for name, entry in file.weights.items()}
    parameters = {
        name.removeprefix(PARAMETERS): tensor
        for name, tensor in tensors.items()
        if name.startswith(PARAMETERS)
    }
    # With the stored codes in place of the float weights, the graph runs as it is.
    restored = {name: weight.dequantized().float() for name, weight in weights.items()}
    return QuantizedModel(
        graph=FloatGraph(name=file.name, nodes=nodes, parameters={**parameters, **restored}),
        method=file.method,
        recipe=file.recipe,
        limits=file.limits,
        activations={name: entry.quantizer() for name, entry in file.activations.items()},
        weights=weights,
        calibration_images=file.calibration_images,
        log=tuple(dict(entry.__pydantic_extra__) for entry in file.log),
        meta=file.meta,
        layernorm_quantizers={name: entry.quantizer() for name, entry in file.parts.items()},
        sources=file.sources.sources() if file.sources else None,
    )


def _tensors_are_as_declared(
    nodes: tuple[FloatNode, ...], file: QuantizedFile, tensors: Mapping[str, Tensor]
) -> None:
    """Refuse tensors that are missing, and those that nothing names."""
    read = {str(name) for node in nodes for name in parameters_of(node)}
    declared = {f"{PARAMETERS}{name}" for name in read - file.weights.keys()}
    declared |= {f"{kind}{name}" for name in file.weights for kind in (CODES, SCALES)}
    for names, problem in (
        (declared - tensors.keys(), "is missing"),
        (tensors.keys() - declared, "is there, and nothing reads it"),
    ):
        if names:
            raise ValueError(f"{TENSORS_NAME}: {printable(min(names))} {problem}")


def _weight(name: str, entry: WeightEntry, tensors: Mapping[str, Tensor]) -> QuantizedWeight:
    codes, scale = tensors[f"{CODES}{name}"], tensors[f"{SCALES}{name}"]
    if (codes.dtype, scale.dtype) != (torch.int8, torch.float64):
        raise ValueError(
            f"weights.{name}: codes are {codes.dtype} and scales {scale.dtype}, wanted torch.int8 "
            "and torch.float64"
        )
    weight = QuantizedWeight(
        bits=entry.bits, codes=codes.numpy(), scale=scale.numpy(), alpha=tuple(entry.alpha)
    )
    for problem in weight_problems(weight):
        raise ValueError(f"weights.{name}: {problem}")
    return weight
