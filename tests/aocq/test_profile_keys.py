# SPDX-License-Identifier: Apache-2.0
"""Every key of a profile shows in what is lowered for it, or the page says where it does not."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from asked import for_chip
from tiny_models import NANO, images, input_size, network

from aocq.capture import FloatGraph, FloatOp, capture
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.lowering.builder import narrowest
from aocq.methods import QuantizedModel
from aocq.methods.quantizers import ActivationQuantizer
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.errors import InputError
from simulator.graph import IntGraph, sha256
from simulator.graph.ops import (
    Add,
    AddShifted,
    LayerNorm,
    LayerNormBisection,
    Op,
    Softmax,
    SquaredDifference,
)
from simulator.numerics.float_type import FloatType
from simulator.numerics.integer_type import IntType
from simulator.profile import NpuProfile, OpKind, RescaleSection, load_profile, profile_paths
from simulator.profile.effects import keys_read

PAGE = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text(encoding="utf-8")
Changes = Mapping[str, Any]

PLAIN: Changes = {"activation.granularity": "per_tensor", "residual.fused_add": False}
GRAPH_LAYERNORM: Changes = {
    **PLAIN,
    "activation.residual_bits": 16,  # so that tensors are brought to the parts' width and back
    "layernorm": {"algorithm": "graph", "part_bits": 8},
}
ISQRT = {
    "sqrt_fraction_bits": 16,
    "reciprocal_bits": 60,
    "normalized_fraction_bits": 26,
    "channel_factor": "none",
    "channel_factor_bits": 2,
}
WIDE = {"bits": 16, "residual_bits": 16, "zero_point": "symmetric", "granularity": "per_tensor"}


def softmax(algorithm: str, **constants: Any) -> Changes:
    return {"softmax": {"algorithm": algorithm, "output_bits": 8, **constants}}


def gelu(algorithm: str, **constants: Any) -> Changes:
    return {"gelu": {"algorithm": algorithm, **constants}, "residual.fused_add": False}


def layernorm(algorithm: str, **constants: Any) -> Changes:
    return {"layernorm": {"algorithm": algorithm, **constants}, **PLAIN}


def chip(changes: Changes) -> NpuProfile:
    """The generic profile with other values at dotted paths; a table is replaced as a whole."""
    plain = tomllib.loads(profile_paths()["edge_npu_int8"].read_text(encoding="utf-8"))
    plain["source"] = {"default": "assumed"}
    for path, value in changes.items():
        *tables, key = path.split(".")
        table = plain
        for part in tables:
            table = table.setdefault(part, {})
        table[key] = value
    return NpuProfile.model_validate(plain)


@cache
def float_graph() -> FloatGraph:
    """A network with every kind of operation: means, sums, normalizations, GELU, attention."""
    return capture(network("mean_then_norm", NANO), "keys", input_size(NANO))


@cache
def _quantized(recipe: Recipe, limits: ChipLimits) -> QuantizedModel:
    return calibrated("base_ptq", float_graph(), images(8, input_size(NANO)), recipe, limits)


def recipe_for(profile: NpuProfile) -> tuple[Recipe, ChipLimits]:
    widths = {
        "weight_bits": profile.weight.bits[0],
        "activation_bits": profile.activation.operand_width,
    }
    return for_chip(profile, **widths)


def lowered(profile: NpuProfile) -> IntGraph:
    return lower(_quantized(*recipe_for(profile)), profile)


def seen(changes: Changes) -> str:
    """What a profile comes to: the hash of a graph, or the refusal."""
    return _seen(chip(changes).model_dump_json())


@cache
def _seen(profile: str) -> str:
    try:
        return sha256(lowered(NpuProfile.model_validate_json(profile)))
    except InputError as refusal:
        return str(refusal)


# --- keys of all tables ---------------------------------------------------------------------------

# By path: what the chip differs in to begin with, and another value of the key.
KEYS: Mapping[str, tuple[Changes, Any]] = {
    "activation.bits": ({}, 7),
    "activation.operand_bits": ({}, 7),
    "activation.residual_bits": ({}, 16),
    "activation.output_bits": ({}, 16),
    "activation.zero_point": ({}, "symmetric"),
    "activation.scale": ({}, "power_of_two"),
    "weight.bits": ({}, [4]),
    "weight.granularity": ({}, "per_tensor"),
    "weight.scale": ({}, "power_of_two"),
    "accumulator.levels": ({}, [{"group": "all", "bits": 31, "overflow": "wrap"}]),
    "accumulator.bias": ({}, "after_last_block"),
    "accumulator.bias_bits": ({}, 31),
    "accumulator.policy": ({}, "report"),
    "add.algorithm": ({"add.algorithm": "common_shift", **PLAIN}, "fixed_20"),
    "add.input_shift": (
        {"add": {"algorithm": "shifted_q31", "input_shift": 20}, **PLAIN},
        15,
    ),
    "mean.algorithm": ({}, "float32"),
    "softmax.algorithm": (softmax("ibert_poly"), "float32"),
    "softmax.table_bits": ({}, 20),
    "softmax.reciprocal_bits": ({}, 50),
    "softmax.output_bits": ({}, 7),
    "softmax.normalisation": ({}, "division"),
    "softmax.rounding": (softmax("float32_table", rounding="half_away"), "floor"),
    "softmax.largest_exponent": (softmax("shiftmax", largest_exponent=15), 10),
    "softmax.octave_bits": (softmax("ita_shift", octave_bits=5, group=16), 4),
    "softmax.group": (softmax("ita_shift", octave_bits=5, group=16), 8),
    "softmax.code_bits": (softmax("log2", code_bits=4, largest_exponent=30), 3),
    "softmax.levels_per_octave": (
        softmax("deferred_log2", levels_per_octave=2, reciprocal_bits=32),
        1,
    ),
    "gelu.algorithm": ({}, "float32"),
    "gelu.evaluated_in": (
        # With enough entries for a float32 to be on the other side of a tie.
        {**gelu("table_256", evaluated_in="float64"), "activation": WIDE},
        "float32",
    ),
    "gelu.intermediate_bits": (gelu("ibert_poly", intermediate_bits=32, erf_shift=0), 26),
    "gelu.erf_shift": (gelu("ibert_poly", intermediate_bits=32, erf_shift=0), 2),
    "gelu.constants": (
        {**gelu("ibert_poly", intermediate_bits=32, erf_shift=0), "activation.bits": 6},
        "nearest",
    ),
    "gelu.fraction_bits": (gelu("shift_gelu", fraction_bits=23), 12),
    "layernorm.algorithm": (layernorm("float32"), "isqrt_bisect"),
    "layernorm.sqrt_fraction_bits": ({}, 8),
    "layernorm.reciprocal_bits": ({}, 40),
    "layernorm.normalized_fraction_bits": ({}, 12),
    "layernorm.root_steps": (layernorm("isqrt_newton", root_steps=12, **ISQRT), 11),
    "layernorm.root_start_bits": (layernorm("isqrt_newton", root_steps=4, **ISQRT), 16),
    "layernorm.part_bits": (GRAPH_LAYERNORM, 16),
}
# Keys that the test below goes through, kind by kind.
BY_KIND = {f"rescale.{key}" for key in RescaleSection.model_fields}
# What methods are asked for; a plain method has no factors by channel.
OF_RECIPES: Mapping[str, Any] = {
    "activation.granularity": "per_tensor",
    "residual.fused_add": False,
    "layernorm.channel_factor": "shift",
    "layernorm.channel_factor_bits": 4,
    "hadamard.largest_order": 64,
    "dynamic.row_scale": "multiplier",
    "dynamic.block": 64,
    "dynamic.block_trim": 2,
}
# What a key wants beside it.
WANTED: Mapping[str, Changes] = {"dynamic.block_trim": {"dynamic.block": 64}}
ONE_VALUE = {"accumulator.order"}
# Tables of a chip's own, which test_lowering_onto_tables.py lowers onto.
IN_FILES = {
    *("gelu.table", "softmax.table", "layernorm.root_table"),
    *("softmax.exponential_table", "softmax.reciprocal_table"),
}
TABLES = (
    *("activation", "weight", "accumulator", "rescale", "residual"),
    *("add", "mean", "softmax", "gelu", "layernorm", "hadamard", "dynamic"),
)


def paths_of(table: str) -> Iterator[str]:
    """Every key that a table can have, of all its algorithms."""
    annotation = NpuProfile.model_fields[table].annotation
    sections = set(get_args(annotation) or (annotation,)) - {type(None)}
    for section in sections:
        yield from (f"{table}.{key}" for key in section.model_fields)


def test_no_key_is_left_out_here() -> None:
    every = {path for table in TABLES for path in paths_of(table)}
    assert every == {*KEYS, *BY_KIND, *OF_RECIPES, *ONE_VALUE, *IN_FILES}
    others = set(NpuProfile.model_fields) - set(TABLES)
    about = {"name", "title", "format", "source"}
    assert others == {*about, "ops", "compute", "memory", "energy", "caveats", "registers"}


@pytest.mark.parametrize("path", KEYS)
def test_another_value_of_a_key_is_another_graph(path: str) -> None:
    base, value = KEYS[path]
    table, _, key = path.partition(".")
    whole = base[table] if isinstance(base.get(table), dict) else None
    changed = {**base, **({table: {**whole, key: value}} if whole else {path: value})}
    if path == "add.algorithm":
        changed = {**base, path: value}
    assert seen(base) != seen(changed)


@pytest.mark.parametrize("path", OF_RECIPES)
def test_what_a_method_may_use_is_in_its_limits(path: str) -> None:
    base = WANTED.get(path, {})
    assert recipe_for(chip({**base, path: OF_RECIPES[path]})) != recipe_for(chip(base))


# --- keys of [rescale], by the kind of op ---------------------------------------------------------

ALGORITHMS: Mapping[tuple[OpKind, str], Changes] = {
    ("linear", ""): {"residual.fused_add": False},
    ("matmul", ""): {},
    ("rescale", ""): GRAPH_LAYERNORM,
    ("mul", "graph"): GRAPH_LAYERNORM,
    ("add", "common_shift"): PLAIN,
    ("add", "fixed_20"): {"add": {"algorithm": "fixed_20"}, **PLAIN},
    ("add", "shifted_q31"): {"add": {"algorithm": "shifted_q31"}, **PLAIN},
    ("mean", "folded"): {},
    ("mean", "folded_q31"): {"mean": {"algorithm": "folded_q31"}},
    ("softmax", "exp_table"): {},
    ("softmax", "ibert_poly"): softmax("ibert_poly"),
    ("gelu", "table_256"): {},
    ("gelu", "ibert_poly"): gelu("ibert_poly", intermediate_bits=32, erf_shift=0),
    ("gelu", "shift_gelu"): gelu("shift_gelu", fraction_bits=23),
    ("layernorm", "isqrt_exact"): {},
    ("layernorm", "isqrt_newton"): layernorm("isqrt_newton", root_steps=12, **ISQRT),
    ("layernorm", "isqrt_bisect"): layernorm("isqrt_bisect"),
    ("layernorm", "graph"): GRAPH_LAYERNORM,
}
# What an op of the kind rescales with to begin with, and another value of the key.
RESCALES: Mapping[str, tuple[Changes, Changes]] = {
    "kind": ({}, {"kind": "float64"}),
    "multiplier_bits": ({}, {"multiplier_bits": 20}),
    "shift": ({}, {"shift": [0, 12]}),
    "derivation": ({"shift": [0, 30]}, {"shift": [0, 30], "derivation": "q31"}),
    "scale_type": ({}, {"scale_type": "float32_ratio"}),
    "rounding": ({}, {"rounding": "floor"}),
    "double_rounding": ({}, {"double_rounding": "symmetric"}),
    "zero_point_stage": ({}, {"zero_point_stage": "before_round"}),
    "left_shift": ({"derivation": "q31"}, {"derivation": "q31", "left_shift": "wrap"}),
    "overflow": ({}, {"overflow": "wrap"}),
}


def with_rescale(kind: OpKind, base: Changes, values: Changes) -> Changes:
    return {**base, f"ops.{kind}.rescale": dict(values)}


@pytest.mark.parametrize("key", RESCALES)
@pytest.mark.parametrize(("kind", "algorithm"), ALGORITHMS, ids="-".join)
def test_a_key_of_rescale_binds_where_the_page_says(kind: OpKind, algorithm: str, key: str) -> None:
    base = ALGORITHMS[kind, algorithm]
    before, after = RESCALES[key]
    if key in keys_read(kind, algorithm):
        assert seen(with_rescale(kind, base, before)) != seen(with_rescale(kind, base, after))
        return
    with pytest.raises(ValueError, match=rf"ops.{kind}.rescale.{key}: has no effect"):
        chip(with_rescale(kind, base, after))


def test_the_page_has_a_row_for_every_algorithm() -> None:
    table = PAGE.partition("| ops | keys of `[rescale]` that bind |")[2].partition("\n\n")[0]
    found: dict[tuple[str, str], set[str]] = {}
    for ops, keys in re.findall(r"^\| (.*?) \| (.*?) \|$", table, flags=re.MULTILINE):
        named = set(re.findall(r"`(\w+)`", keys))
        bound = set(RescaleSection.model_fields) if keys == "all" else named
        for kind, algorithms in re.findall(r"(\w+)(?: \(([^)]*)\))?(?:, |$)", ops):
            for algorithm in re.findall(r"`(\w+)`", algorithms) or [""]:
                found[kind, algorithm] = bound
    for kind, algorithm in [*ALGORITHMS, ("add", "float32")]:
        stated = found.get((kind, algorithm), found.get((kind, ""), set()))
        assert stated == keys_read(kind, algorithm), (kind, algorithm)


# --- shifts ---------------------------------------------------------------------------------------

SINGLE = (Add, LayerNorm, LayerNormBisection, Softmax)
TRIPLE = (AddShifted, SquaredDifference)


def shifts_of(graph: IntGraph, op: Op) -> set[int]:
    """Every shift by which an op brings sums to codes."""
    found = {op.shift} if isinstance(op, SINGLE) else set()
    if isinstance(op, TRIPLE):
        found |= {op.shift_a, op.shift_b, op.shift}
    for requantize in op.requantizations:
        if requantize.shift:
            found |= set(graph.constants[requantize.shift].tolist())
    return found


RANGES = ([0, 31], [0, 40], [2, 62], [8, 38])
# Algorithms that say which multipliers they have, of 31 bits.
FIXED = {"shifted_q31", "graph"}
CHIPS = {name: changes for (_, name), changes in ALGORITHMS.items() if name}


@pytest.mark.parametrize("shift", RANGES, ids=str)
@pytest.mark.parametrize("name", CHIPS)
def test_no_op_has_a_shift_that_the_chip_does_not_have(name: str, shift: list[int]) -> None:
    """Its multipliers are smaller then; where an algorithm says which they are, it is refused."""
    profile = chip({**CHIPS[name], "rescale.shift": shift})
    if name in FIXED and shift[1] < 62:
        with pytest.raises(InputError, match=rf"rescale.shift has {shift[0]}..{shift[1]}"):
            lowered(profile)
        return
    graph = lowered(profile)
    found = {found for op in graph.ops for found in shifts_of(graph, op)}
    assert shift[0] <= min(found)
    assert max(found) <= shift[1]


@pytest.mark.parametrize("kind", ["softmax", "layernorm", "add", "linear"])
def test_a_shift_that_no_multiplier_makes_is_refused_by_name(kind: OpKind) -> None:
    base = {**with_rescale(kind, PLAIN, {"shift": [62, 62]})}
    with pytest.raises(InputError, match=r"profile edge_npu_int8: \S+: .*rescale.shift has 62..62"):
        lowered(chip(base))


# --- types of constants ---------------------------------------------------------------------------


@cache
def _of_16_channels(recipe: Recipe, limits: ChipLimits) -> QuantizedModel:
    """A network with heads of 16 channels: chips that only shift divide scores by 4."""
    base = {**NANO, "embed_dim": 48}
    graph = capture(network("mean_then_norm", base), "keys", input_size(base))
    return calibrated("base_ptq", graph, images(4, input_size(base)), recipe, limits)


@pytest.mark.parametrize(
    ("codes", "signed", "bits"),
    [
        ([-16], True, 5),
        ([-16, -16], True, 5),
        ([-16, 15], True, 5),
        ([16, -16], True, 6),
        ([-17], True, 6),
        ([-1], True, 2),
        ([0], True, 2),
        ([0], False, 1),
        ([16], False, 5),
        ([0, 15], False, 4),
    ],
)
def test_the_narrowest_type_of_codes(codes: list[int], signed: bool, bits: int) -> None:
    assert narrowest(np.array(codes), signed=signed) == IntType(bits=bits, signed=signed)


@pytest.mark.parametrize("name", profile_paths())
def test_constants_have_the_chip_s_width_or_the_narrowest(name: str) -> None:
    """β and shifts that stand for multipliers have no width of the chip's."""
    profile = load_profile(name)
    bits = {
        "weight_bits": max(profile.weight.bits),
        "activation_bits": profile.activation.operand_width,
    }
    model = _of_16_channels(*for_chip(profile, **bits))
    graph = lower(model, profile)
    widths = {
        "bias": {profile.accumulator.bias_bits},
        "shift": {profile.rescale.shift[1].bit_length()},
        "gamma": {profile.rescale.multiplier_bits + 1, 8},  # 8: of a graph of operators
    }
    betas = {op.bias for op in graph.ops if isinstance(op, LayerNormBisection)}
    for tensor, codes in graph.constants.items():
        kind, ending = graph.tensors[tensor].type, tensor.rpartition(".")[2]
        if isinstance(kind, FloatType):
            continue
        if tensor in betas or (ending == "beta" and profile.layernorm.algorithm != "graph"):
            assert kind == narrowest(codes), tensor
        elif ending in widths:
            assert kind.bits in widths[ending], tensor
        elif ending == "multiplier" and profile.rescale.kind == "power_of_two":
            assert kind.bits <= 31 if "mean" in tensor else kind == narrowest(codes, signed=False)


def test_channel_shifts_have_the_width_of_the_chip_s_factors() -> None:
    profile = load_profile("narrow_acc_20")
    model = _quantized(*recipe_for(profile))
    reader = next(node for node in model.graph.nodes if node.op is FloatOp.LAYERNORM)
    (name,) = reader.inputs
    plain = model.activations[name]
    assert isinstance(plain, ActivationQuantizer)
    balanced = replace(plain, alpha=tuple(2.0 ** (channel % 8) for channel in range(24)))
    graph = lower(replace(model, activations={**model.activations, name: balanced}), profile)
    assert str(graph.tensors[f"{reader.name}.channel_shift"].type) == "u3"
