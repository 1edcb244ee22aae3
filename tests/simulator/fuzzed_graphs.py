# SPDX-License-Identifier: Apache-2.0
"""Graphs to be damaged, and damaged ones in canonical form, so that every rule gets to see them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from one_op_graphs import CASES
from safetensors.numpy import load_file, save_file
from small_graphs import (
    S4,
    S8,
    S32,
    SATURATE,
    U4,
    U8,
    WRAP,
    Draft,
    accumulator,
    exponentials,
    with_tensor,
)

from simulator.graph import IntGraph, verify
from simulator.graph.ops import (
    OP_TYPES,
    Add,
    AddShifted,
    Concat,
    DeferredSoftmax,
    Dequantize,
    FloatFunction,
    Function,
    GeluPolynomial,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    NormalizedMatMul,
    Op,
    Quantize,
    Rescale,
    ScaledMatMul,
    ShiftGelu,
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
    SquaredDifference,
)
from simulator.graph.storage import JSON_NAME, TENSORS_NAME

META = {
    "classes": "5",
    "model_arguments": json.dumps({"depth": 1}),
    "preprocessing": json.dumps(
        {
            "crop_mode": "center",
            "crop_pct": 0.9,
            "input_size": [3, 4, 4],
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.25, 1.0],
        },
        sort_keys=True,
    ),
}


def classifier(meta: Mapping[str, str] = META) -> IntGraph:
    """Return a graph that takes images and gives five classes, and says so."""
    rng = np.random.default_rng(3)
    d = Draft()
    d.input("image", (3, 4, 4), S8, -3)
    d.transpose("moved", d.reshape("patches", "image", 3, 4, 4), 1, 2, 0)
    d.reshape("tokens", "moved", 4, 12)
    d.constant("embed.weight", rng.integers(-8, 8, (6, 12)), S4)
    bias = d.constant("embed.bias", rng.integers(-300, 300, 6), S32)
    d.op(MatMul, "embed", "tokens", "embed.weight", bias=bias, transpose_b=True, type=S8)
    d.constant("fc.weight", rng.integers(-8, 8, (6, 6)), S4)
    fused = {"residual": "embed", "residual_multiplier": (3,), "residual_fraction_bits": 2}
    levels = accumulator((2, 11, SATURATE), (0, 32, WRAP))
    d.op(MatMul, "fc", "embed", "fc.weight", accumulator=levels, **fused)
    d.op(Mean, "pool", "fc")
    d.constant("head.weight", rng.integers(-128, 128, (6, 5)), S8)
    d.op(MatMul, "head", "pool", "head.weight")
    graph = d.graph(meta=meta)
    graph = with_tensor(graph, "image", scale=(0.01,))
    return with_tensor(graph, "head", scale=(0.1, 0.2, 0.3, 0.4, 0.5))


def one_op_of_every_type() -> IntGraph:
    """A graph with one op of every type, so that every kind of value is there once or twice."""
    d = Draft()
    d.input("a", (2, 4), S8, 1)
    d.constant("w", np.arange(16).reshape(4, 4), S8)
    levels = accumulator((2, 9, SATURATE), (0, 20, WRAP))
    d.op(MatMul, "matmul", "a", "w", bias=None, accumulator=levels)
    d.op(Rescale, "rescale", "matmul")
    d.op(Add, "add", "rescale", "a")
    ones = [1, 2, 3, 4]
    d.op(
        LayerNorm, "norm", "add", gamma=ones, beta=ones, channel_shift=ones, channel_multiplier=ones
    )
    d.op(Softmax, "softmax", "norm", table=exponentials())
    shares = {
        "row_factor": d.operand("row_factor", (2, 1), U8),
        "block_exponent": d.operand("exponents", (2, 2), U4),
    }
    d.op(ScaledMatMul, "scaled", "softmax", "w", block=2, accumulator=levels, **shares)
    d.op(SoftmaxGemmlowp, "gemmlowp", "norm")
    d.op(SoftmaxLut513, "lut513", "norm", exp_table=[9] * 513, reciprocal_table=[8] * 513)
    d.op(SoftmaxFloatTable, "float_table", "norm", table=[1.0] * 256)
    d.op(SoftmaxIBert, "ibert", "norm")
    d.op(Shiftmax, "shiftmax", "norm")
    d.op(SoftmaxIta, "ita", "norm")
    d.op(SoftmaxLog2, "log2", "norm")
    d.op(DeferredSoftmax, "deferred", "norm")
    d.op(NormalizedMatMul, "normalized", "deferred", "norm", transpose_b=True)
    d.op(AddShifted, "sum", "norm", "add")
    d.op(SquaredDifference, "square", "norm", "add")
    d.op(Mul, "product", "norm", "add")
    d.op(InterpolatedLookup, "between", "norm", table=[1, 2, 3], type=S8)
    d.op(GeluPolynomial, "polynomial", "norm", clip_low=-127)
    d.op(ShiftGelu, "shift_gelu", "norm")
    d.op(LayerNormBisection, "bisection", "norm", weight=ones, bias=ones)
    d.op(Hadamard, "hadamard", "norm", order=4)
    d.op(GroupMaximum, "maximum", "norm", group=2)
    d.op(GroupExponent, "exponent", "norm", group=2, trim=2)
    d.op(GroupQuantize, "codes", "norm", "maximum", group=2, numerator=(7 << 24) * 20 // 17)
    d.op(GroupShift, "shifted", "norm", "exponent", group=2)
    d.op(Lookup, "lookup", "softmax", table=range(256), type=d.tensors["softmax"].type)
    d.op(Concat, "concat", "lookup", "softmax")
    d.slice("slice", "concat", 1, 3)
    d.reshape("reshape", "slice", 4, 2)
    d.transpose("transpose", "reshape", 1, 0)
    d.op(Mean, "mean", "transpose", accumulator=levels)
    d.op(Dequantize, "dequantize", "mean", step=[0.5], bias=[1.0, 2.0, 3.0, 4.0])
    norm = {"weight": [1.0, 2.0, 3.0, 4.0], "bias": [0.5] * 4, "epsilon": 1e-6}
    d.op(FloatFunction, "float", "dequantize", function=Function.LAYERNORM, **norm)
    d.op(Quantize, "quantize", "float", step=[0.25])
    d.op(Quantize, "levels", "float", thresholds=[0.25, 1.5])
    for op_type in OP_TYPES.values():
        if op_type not in {type(op) for op in d.ops}:
            append_first_case(d, op_type)
    graph = d.graph()
    assert {type(op) for op in graph.ops} == set(OP_TYPES.values())
    assert verify(graph) == []
    return graph


def append_first_case(d: Draft, op_type: type[Op]) -> None:
    """Append the op of a type's first case, its operands computed somehow from the input."""
    case = Draft()
    next(iter(CASES[op_type].values()))(case)
    graph = case.graph()
    op, name = graph.ops[-1], op_type.__name__
    for operand in dict.fromkeys(op.operands):
        tensor = graph.tensors[operand]
        d.operand(f"{name}.{operand}", tensor.shape, tensor.type, tensor.zero_point)
    for constant in op.constants:
        d.constant(f"{name}.{constant}", graph.constants[constant], graph.tensors[constant].type)
    renamed = {
        field: f"{name}.{value}"
        for field in (*op.operand_fields, *op.constant_fields)
        if (value := getattr(op, field)) is not None
    }
    result = graph.result(op)
    d.declare(name, result.shape, result.type, result.zero_point)
    d.append(replace(op, name=name, **renamed))


def alone(op: Op, graph: IntGraph) -> IntGraph:
    """Return a graph that ends with one op of another; what it reads comes from the input."""
    d = Draft()
    for name in dict.fromkeys((*op.operands, *op.constants)):
        tensor = graph.tensors[name]
        if graph.is_constant(name):
            d.constant(name, graph.constants[name], tensor.type, tensor.zero_point)
        else:
            d.operand(name, tensor.shape, tensor.type, tensor.zero_point)
    result = graph.result(op)
    d.declare(op.name, result.shape, result.type, result.zero_point)
    d.append(op)
    return d.graph()


def lay_out(plain: Any) -> str:
    """Write a graph's JSON in the canonical layout, whatever its values are."""

    def dump(value: Any) -> str:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))

    def value_of(key: str, value: Any) -> str:
        if key in {"ops", "tensors"} and isinstance(value, list):
            return "[\n" + ",\n".join(map(dump, value)) + "\n]"
        return dump(value)

    entries = [f"{dump(key)}: {value_of(key, value)}" for key, value in sorted(plain.items())]
    return "{\n" + ",\n".join(entries) + "\n}\n"


def write(plain: Any, folder: Path, constants: Mapping[str, np.ndarray] | None = None) -> None:
    """Write a graph's JSON as the canonical text beside its constants, whatever it says.

    Without that, nothing but the comparison with the canonical text would see a damaged value.
    """
    if constants is None:
        constants = load_file(folder / TENSORS_NAME)
    else:
        save_file(dict(constants), folder / TENSORS_NAME)
    tensors = plain.get("tensors")
    for entry in tensors if isinstance(tensors, list) else ():
        if isinstance(entry, dict) and "sha256" in entry and isinstance(entry.get("name"), str):
            codes = constants.get(entry["name"])
            if codes is not None:
                entry["sha256"] = hashlib.sha256(codes.tobytes()).hexdigest()
    (folder / JSON_NAME).write_bytes(lay_out(plain).encode(errors="surrogatepass"))


_SHAPES = ((), (0,), (1,), (1, 1), (2, 0), (1,) * 9, (1,) * 40)


def constant_mutants(
    plain: Any, constants: Mapping[str, np.ndarray], seed: int, count: int
) -> Iterator[tuple[str, Any, dict[str, np.ndarray]]]:
    """Yield a graph's JSON and constants with one constant changed, in agreement where possible."""
    chance = random.Random(seed)
    for _ in range(count):
        name = chance.choice(sorted(constants))
        codes, changed = constants[name], json.loads(json.dumps(plain))
        (entry,) = (entry for entry in changed["tensors"] if entry["name"] == name)
        kind = chance.choice(("shape", "code", "code", "code", "type", "flip"))
        if kind == "shape":
            shape = chance.choice((*_SHAPES, codes.shape[::-1], (*codes.shape, 1)))
            codes = np.resize(codes, shape)
        elif kind == "code":
            codes = codes.copy()
            real = codes.dtype.kind == "f"
            info = np.finfo(codes.dtype) if real else np.iinfo(codes.dtype)
            more = (np.nan, np.inf, 1e-45) if real else (63, 62, 31)
            value = chance.choice((0, 1, info.min, info.max, *more))
            codes.flat[chance.randrange(codes.size)] = value
        elif kind == "type":
            entry["type"] = chance.choice(("s1", "u1", "s8", "u8", "u31", "s64", "f32", "f64"))
            codes = codes.astype(chance.choice(("i1", "u1", "i4", "u4", "i8", "f4", "f8")))
        else:
            codes = codes[..., ::-1].copy()
        entry["shape"] = list(codes.shape)
        yield f"{name}: {kind}: {codes.dtype}{codes.shape}", changed, {**constants, name: codes}


def renamed(plain: Any, old: str, new: str) -> None:
    """Give a tensor, and all that is named after it, another name everywhere."""
    text = json.dumps({key: plain[key] for key in ("ops", "outputs", "tensors")})
    for end in ('"', "."):
        text = text.replace(f'"{old}{end}', json.dumps(new)[:-1] + end)
    plain.update(json.loads(text))
