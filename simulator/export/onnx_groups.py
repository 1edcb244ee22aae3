# SPDX-License-Identifier: Apache-2.0
"""Rotations in ONNX, as products with a constant; scales that are found at run time have no form.

QuantizeLinear takes the scale of a tensor or channel from a constant that stands for all images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from simulator.errors import InputError
from simulator.export.onnx_file import OnnxFile, Value, same_everywhere
from simulator.export.real_numbers import factors, scales
from simulator.graph.op import Op
from simulator.graph.ops import (
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    op_name,
)
from simulator.numerics.hadamard import hadamard_matrix


def _hadamard(file: OnnxFile, op: Any) -> Value:
    """A product of blocks [blocks, order] with H; codes are reshaped, not real values."""
    worth = factors(file.graph, op.requantize) * scales(file.graph, op.name)
    same = same_everywhere(worth)
    x, channels = file.operand(op.a), file.graph.result(op).shape[-1]
    blocks = file.shape(f"{op.name}/blocks", [-1, channels // op.order, op.order])
    rows = replace(x, name=file.add("Reshape", [x.name, blocks], f"{op.name}/rows"))
    real = file.read(rows, op.name, worth if same else np.ones(1))
    matrix = file.constant(f"{op.name}/h", hadamard_matrix(op.order).astype(np.float32))
    real = file.add("MatMul", [real, matrix], f"{op.name}/real")
    if not same:
        by_channel = file.real_constant(f"{op.name}/factor", worth.reshape(-1, op.order))
        real = file.add("Mul", [real, by_channel], f"{op.name}/scaled")
    shape = file.shape(f"{op.name}/shape", [file.images, *file.graph.result(op).shape])
    if not same_everywhere(scales(file.graph, op.name)):
        return file.write(op.name, file.add("Reshape", [real, shape], f"{op.name}/whole"))
    value = file.write(op.name, real)
    node = file.nodes[-1]
    node["outputs"] = [f"{op.name}/rows.codes"]
    file.owners[f"{op.name}/rows.codes"] = op.name
    file.add("Reshape", [f"{op.name}/rows.codes", shape], op.name)
    return value


def _refused(_: OnnxFile, op: Op) -> NoReturn:
    raise InputError(
        f"{op.name}: {op_name(op)} scales each group by its largest magnitude at run time, and "
        "QDQ form has constant scales only; quantize for a profile without [dynamic], or export "
        "another form"
    )


GROUPS: Mapping[type[Op], Callable[[OnnxFile, Any], Value]] = MappingProxyType(
    {
        Hadamard: _hadamard,
        **dict.fromkeys((GroupMaximum, GroupExponent, GroupQuantize, GroupShift), _refused),
    }
)
