# SPDX-License-Identifier: Apache-2.0
"""Steps that are found as the chip runs: their definition, in files, where they may stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from asked import for_chip, recipe_of
from changed_profiles import with_dynamic_steps
from hypothesis import given
from hypothesis import strategies as st
from operand_nodes import with_operand_nodes
from tiny_models import NANO, images, input_size
from tiny_quantized import meta_of
from torch import nn

from aocq.capture import FloatGraph, FloatOp
from aocq.lowering import check_recipe
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.dynamic_steps import Steps, dynamic_steps, exact_base
from aocq.methods.quantizers import ActivationQuantizer, DynamicQuantizer
from aocq.methods.scale_form import ANY_SCALE
from aocq.methods.storage import load, quantizer_from_plain, quantizer_to_plain, save
from aocq.methods.verify_quantized import verify
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import limits_of
from simulator.errors import InputError
from simulator.numerics.integer_type import IntType
from simulator.profile import load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def of_width(
    base: int, bits: int, group: int, form: Any, scale: float = 1.0, **clipping: Any
) -> DynamicQuantizer:
    wide = ActivationQuantizer(type=IntType(bits=base), scale=scale, zero_point=0)
    return Steps(group, form, **clipping).on(wide, bits)


def defined(codes: list[int], quantizer: DynamicQuantizer) -> tuple[list[int], int]:
    """Narrow codes and the factor of one group, in plain integers."""
    largest, high = max(1, *map(abs, codes)), quantizer.type.high
    if quantizer.form == "multiplier":
        shift = quantizer.reciprocal_bits
        reciprocal = quantizer.numerator // largest
        narrow = [code * reciprocal + (1 << (shift - 1)) >> shift for code in codes]
        factor = largest
    else:
        trimmed = largest - (largest >> quantizer.trim) if quantizer.trim else largest
        exponent = max(0, trimmed.bit_length() - (quantizer.bits - 1))
        half = 1 << exponent >> 1
        narrow = [code + half >> exponent for code in codes]
        factor = 1 << exponent
    return [min(max(code, quantizer.type.low), high) for code in narrow], factor


@st.composite
def groups(draw: st.DrawFn) -> tuple[DynamicQuantizer, list[list[int]]]:
    bits = draw(st.integers(2, 8))
    base = draw(st.integers(max(bits, 3), 16))
    form = draw(st.sampled_from(["multiplier", "power_of_two"]))
    size = draw(st.integers(1, 5))
    codes = st.sampled_from([-(1 << (base - 1)), (1 << (base - 1)) - 1, 0, 1, -1]) | st.integers(
        -(1 << (base - 1)), (1 << (base - 1)) - 1
    )
    rows = draw(st.lists(st.lists(codes, min_size=size, max_size=size), min_size=1, max_size=4))
    clipping = {"share": draw(st.sampled_from([1.0, 0.85, 0.51])), "trim": draw(st.integers(0, 7))}
    scale = draw(st.sampled_from([1.0, 0.25, 0.3]))
    return of_width(base, bits, size, form, scale, **clipping), rows


@given(groups(), st.sampled_from([torch.float32, torch.float64]))
def test_codes_and_factors_are_those_of_the_definition(
    drawn: tuple[DynamicQuantizer, list[list[int]]], dtype: torch.dtype
) -> None:
    """Groups stand side by side in one row."""
    quantizer, rows = drawn
    x = torch.tensor([code for row in rows for code in row], dtype=torch.float64)
    x = (x * quantizer.base.scale).to(dtype)[None]
    codes, factors = quantizer.split(x)
    wanted = [defined(row, quantizer) for row in rows]
    assert codes[0].tolist() == [code for narrow, _ in wanted for code in narrow]
    assert factors[0].tolist() == [factor for _, factor in wanted]
    assert torch.equal(quantizer.codes(x), codes.to(dtype))
    whole = codes.unflatten(-1, (-1, quantizer.group)) * factors[..., None] * quantizer.scale
    torch.testing.assert_close(quantizer(x), whole.flatten(-2).to(dtype))


def test_a_step_of_its_own_leaves_no_row_without_codes() -> None:
    """One scale for rows of 1 and of 1/1000 rounds the second to nothing."""
    x = torch.tensor([[1.0, -0.5], [0.001, -0.0005]])
    for form in ("multiplier", "power_of_two"):
        found = of_width(16, 4, 2, form, scale=1 / 32767)(x)
        assert float(((found - x) / x).abs().max()) < 0.15


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_share_of_one_gives_the_largest_magnitude_the_largest_code(bits: int) -> None:
    """Its step is a whole one of the wide codes where the factor is that code."""
    found = of_width(12, bits, 3, "multiplier", 0.3)
    high = found.type.high
    assert found.numerator == high << found.reciprocal_bits
    assert found.scale == 0.3 / high
    assert found(torch.tensor([[0.3 * high, -0.3 * high, 0.0]]).double()).tolist() == [
        [pytest.approx(0.3 * high), pytest.approx(-0.3 * high), 0.0]
    ]


def test_a_smaller_share_clips_the_largest_magnitude_and_nothing_else() -> None:
    """Of 4 bits, 0.45 of the largest is 3.15 steps of a seventh, 3.71 with a share of 0.85."""
    x = torch.tensor([[1.0, -1.0, 0.45, 0.84]], dtype=torch.float64)
    plain, clipped = (
        of_width(16, 4, 4, "multiplier", 2**-15, share=share) for share in (1.0, 0.85)
    )
    assert plain.codes(x).tolist() == [[7, -7, 3, 6]]
    assert clipped.codes(x).tolist() == [[7, -8, 4, 7]]
    assert clipped.scale == pytest.approx(0.85 * plain.scale, rel=1e-6)
    assert clipped(x)[0].tolist() == pytest.approx([0.85, -0.85 * 8 / 7, 0.85 * 4 / 7, 0.85], 1e-4)


@pytest.mark.parametrize(
    ("trim", "largest_of_a_step"), [(0, 15), (1, 30), (2, 20), (3, 17), (4, 16), (7, 15)]
)
def test_a_trim_keeps_the_smaller_step_for_larger_magnitudes(
    trim: int, largest_of_a_step: int
) -> None:
    """Of 4 bits, a step of 2 reaches 15: ``m - (m >> trim)`` is below 16 for some beyond."""
    quantizer = of_width(16, 4, 1, "power_of_two", trim=trim)
    magnitudes = torch.arange(8, 64, dtype=torch.float64)[None]
    codes, factors = quantizer.split(magnitudes)
    of_two = magnitudes[0][factors[0] == 2]
    assert float(of_two.max()) == largest_of_a_step
    assert float(codes.max()) == 7


@given(st.integers(4, 16), st.integers(2, 4), st.floats(0.5, 1, exclude_min=True))
def test_fewer_wide_bits_have_the_numerator_of_their_own(
    base: int, bits: int, share: float
) -> None:
    wide, narrow = (of_width(b, bits, 2, "multiplier", share=share) for b in (16, base))
    assert wide.on(narrow.base) == narrow
    again = narrow.on(wide.base)
    assert again.scale == pytest.approx(narrow.scale, rel=1e-15)


@pytest.mark.parametrize(
    ("form", "clipping"),
    [("multiplier", {"share": 0.85}), ("power_of_two", {"trim": 2})],
    ids=["multiplier", "power_of_two"],
)
def test_it_is_the_same_behind_a_file(form: Any, clipping: dict[str, Any]) -> None:
    for given_ in ({}, clipping):
        quantizer = of_width(16, 4, 64, form, 0.01, **given_)
        assert quantizer_from_plain(quantizer_to_plain(quantizer)) == quantizer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": {"zero_point": 1}}, "base: has one scale"),
        ({"base": {"alpha": [1.0]}}, "base: has one scale"),
        ({"base": {"type": "u8"}}, "base: wanted signed codes of 4 bits or more"),
        ({"base": {"type": "s3"}}, "base: wanted signed codes of 4 bits or more"),
        ({"bits": 1}, "bits"),
        ({"group": 0}, "group"),
        ({"form": "any"}, "form"),
        ({"numerator": 7 * 2**16 - 1}, "numerator: wanted 458752 to 917504"),
        ({"numerator": 14 * 2**16 + 1}, "numerator: wanted 458752 to 917504"),
        ({"numerator": -1}, "numerator"),
        ({"trim": 1}, "trim: wanted 0"),
        ({"trim": 8}, "trim"),
        ({"form": "power_of_two"}, "numerator: wanted 0"),
        ({"form": "power_of_two", "numerator": 0, "trim": -1}, "trim"),
    ],
    ids=str,
)
def test_impossible_ones_are_refused_in_files(changes: dict[str, Any], message: str) -> None:
    plain = quantizer_to_plain(of_width(8, 4, 8, "multiplier"))
    for key, value in changes.items():
        plain[key] = {**plain[key], **value} if isinstance(value, dict) else value
    with pytest.raises(ValueError, match=message):
        quantizer_from_plain(plain)


# --- which operands -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph(nano: Captured) -> FloatGraph:
    return with_operand_nodes(nano("class_token")[1], 4)


def kinds(graph: FloatGraph, names: Any) -> set[str]:
    """What the products that read some operands are: layers by name, products by operand."""
    found = set()
    for node in graph.nodes:
        for side, name in enumerate(node.inputs):
            if name in names:
                part = node.name.removeprefix("blocks.0.")
                found.add(f"{part}.{'ab'[side]}" if node.op is FloatOp.MATMUL else part)
    return found


SCORES = {"attn.scores.a", "attn.scores.b"}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, set()),
        ({"row_steps": "scores"}, SCORES),
        ({"row_steps": "projection"}, {"attn.proj"}),
        ({"row_steps": "attention"}, {"attn.proj", *SCORES}),
        ({"row_steps": "all"}, {*LAYERS, *SCORES}),
        ({"block_steps": True}, {"mlp.fc2"}),
        ({"row_steps": "all", "block_steps": True}, {*LAYERS, *SCORES}),
    ],
    # Of a set, the order in a word differs between processes.
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_the_recipe_says_which_operands_have_steps_of_their_own(
    asked: dict[str, Any], wanted: set[str], graph: FloatGraph
) -> None:
    """Values never: their rows' steps vary along the sum that mixes them."""
    options, chip = AocqOptions(**asked), with_dynamic_steps(row_scale="multiplier", block=8)
    found = dynamic_steps(graph, options, limits_of(chip, recipe_of()))
    assert kinds(graph, found) == wanted
    for name, steps in found.items():
        block = kinds(graph, {name}) == {"mlp.fc2"} and options.block_steps
        group = 8 if block else graph.node(name).shape[-1]
        assert (steps.group, steps.form) == (group, "power_of_two" if block else "multiplier")


@pytest.mark.parametrize("form", ["multiplier", "power_of_two"])
def test_the_recipe_clips_multipliers_and_the_chip_powers_of_two(
    form: str, graph: FloatGraph
) -> None:
    chip = with_dynamic_steps(row_scale=form, block=8, block_trim=3)
    options = AocqOptions(row_steps="all", block_steps=True, row_clipping=0.75)
    base = ActivationQuantizer(type=IntType(bits=16), scale=1.0, zero_point=0)
    found = {
        steps.on(base, 4)
        for steps in dynamic_steps(graph, options, limits_of(chip, recipe_of())).values()
    }
    assert {(q.form, q.numerator, q.trim) for q in found} == {
        (form, *((int((7 << 24) / 0.75), 0) if form == "multiplier" else (0, 3))),
        ("power_of_two", 0, 3),
    }


def test_a_chip_without_them_has_none(graph: FloatGraph) -> None:
    options = AocqOptions(row_steps="all", block_steps=True)
    assert (
        dynamic_steps(graph, options, limits_of(load_profile("edge_npu_int8"), recipe_of())) == {}
    )


@pytest.mark.parametrize(
    ("asked", "key"),
    [({"row_steps": "scores"}, "dynamic.row_scale"), ({"block_steps": True}, "dynamic.block")],
    ids=str,
)
def test_a_recipe_that_asks_for_what_a_chip_lacks_is_refused(
    asked: dict[str, Any], key: str
) -> None:
    chip = with_dynamic_steps(row_scale="power_of_two", block=32)
    check_recipe(*for_chip(chip, aocq=asked), chip)
    plain = load_profile("edge_npu_int8")
    with pytest.raises(InputError, match=key):
        check_recipe(*for_chip(plain, aocq=asked), plain)


def test_steps_that_are_powers_of_two_are_clipped_by_the_chip_alone() -> None:
    powers, numbers = (
        with_dynamic_steps(row_scale=form, block=32) for form in ("power_of_two", "multiplier")
    )
    asked = {"row_steps": "scores", "row_clipping": 0.9}
    check_recipe(*for_chip(numbers, aocq=asked), numbers)
    with pytest.raises(InputError, match="leave --row-clipping out"):
        check_recipe(*for_chip(powers, aocq=asked), powers)
    check_recipe(*for_chip(powers, aocq={"row_clipping": 0.9}), powers)  # there are no steps


# --- in a quantized network -----------------------------------------------------------------------


def quantized(graph: FloatGraph, **options: Any) -> QuantizedModel:
    chip = with_dynamic_steps("edge_npu_a4", row_scale="multiplier", block=8)
    aocq = {"search_images": 4, "row_steps": "all", "block_steps": True, **options}
    asked = for_chip(chip, activation_bits=4, weight_bits=4, aocq=aocq)
    found = METHODS["aocq"](graph, images(8, input_size(NANO)), *asked)
    return replace(found, meta=meta_of(graph))


@pytest.fixture(scope="module")
def model(graph: FloatGraph) -> QuantizedModel:
    return quantized(graph, scale_passes=1)


@pytest.fixture(scope="module")
def reconstructed(graph: FloatGraph) -> QuantizedModel:
    return quantized(
        graph,
        scale_passes=0,
        rounding="reconstruct",
        reconstruction_steps=10,
        held_out_share=0.0,
    )


def test_saved_ones_come_back(model: QuantizedModel, tmp_path: Path) -> None:
    save(model, tmp_path)
    assert load(tmp_path).activations == model.activations


@pytest.mark.parametrize("quantized_by", ["model", "reconstructed"])
def test_wide_codes_are_what_the_input_has_already(
    quantized_by: str, request: pytest.FixtureRequest
) -> None:
    """A rotation's are its exact sums, a requantization's its input's codes."""
    model: QuantizedModel = request.getfixturevalue(quantized_by)
    if quantized_by == "reconstructed":
        learned = [entry for entry in model.log if entry["stage"] == "learning"]
        assert any(entry["after"] < entry["before"] for entry in learned)
    dynamic = {n: q for n, q in model.activations.items() if isinstance(q, DynamicQuantizer)}
    assert len(dynamic) == 6
    for name, quantizer in dynamic.items():
        node = model.graph.node(name)
        own = model.scales(node.inputs[0]).reshape(-1)
        assert len(set(own.tolist())) == 1
        rotated = node.op is FloatOp.HADAMARD
        assert quantizer.base.scale == own[0] / (4**0.5 if rotated else 1)
        assert quantizer.base.type.bits == (4 if not rotated else quantizer.base.type.bits)


@pytest.mark.parametrize("order", [2, 4, 8, 16])
def test_exact_sums_fit_their_type_and_would_not_fit_one_bit_less(order: int, graph: Any) -> None:
    node = next(n for n in graph.nodes if n.op is FloatOp.HADAMARD)
    node = replace(node, attributes={"order": order})
    for zero_point in (-8, 0, 3):
        source = ActivationQuantizer(type=IntType(bits=4), scale=0.5, zero_point=zero_point)
        base = exact_base(node, source, source.scale_array(), ANY_SCALE)
        assert base is not None
        largest = order * max(abs(end) for end in source.span)
        assert base.type.high >= largest > IntType(bits=base.type.bits - 1).high
    wide = ActivationQuantizer(type=IntType(bits=16), scale=0.5, zero_point=0)
    assert exact_base(node, wide, wide.scale_array(), ANY_SCALE) is None


def changed(model: QuantizedModel, name: str, **fields: Any) -> QuantizedModel:
    quantizer = model.activations[name]
    assert isinstance(quantizer, DynamicQuantizer)
    found = replace(quantizer, **fields)
    return replace(model, activations={**model.activations, name: found})


def test_they_stand_in_front_of_products_only(model: QuantizedModel) -> None:
    (softmax,) = (n.name for n in model.graph.nodes if n.op is FloatOp.SOFTMAX)
    dynamic = next(q for q in model.activations.values() if isinstance(q, DynamicQuantizer))
    values = next(
        node.inputs[1]
        for node in model.graph.nodes
        if node.op is FloatOp.MATMUL and not node.attributes["transpose_b"]
    )
    group = model.graph.node(values).shape[-1]
    for name, message in (
        (softmax, "only rotations and requantizations"),
        (values, "its steps vary along the sum"),
    ):
        placed = {**model.activations, name: replace(dynamic, group=group)}
        with pytest.raises(InputError, match=message):
            verify(replace(model, activations=placed))


def test_groups_and_forms_are_the_chip_s(model: QuantizedModel) -> None:
    rows, blocks = (
        next(
            name
            for name, q in model.activations.items()
            if isinstance(q, DynamicQuantizer) and (q.form == form)
        )
        for form in ("multiplier", "power_of_two")
    )
    # A multiplier can be one.
    verify(changed(model, rows, form="power_of_two", numerator=0))
    for name, fields, message in (
        (rows, {"group": 5}, "group 5: does not divide"),
        (rows, {"group": 4}, "limits.block is 8"),
        (blocks, {"group": 16}, "limits.block is 8"),
        (blocks, {"form": "multiplier"}, "blocks have powers of two"),
        (blocks, {"trim": 2}, "trim 2: limits.block_trim is 0"),
        (rows, {"bits": 8}, "has 8 bits, the recipe 4"),
    ):
        with pytest.raises(InputError, match=message):
            verify(changed(model, name, **fields))
    shifting = replace(model, limits=replace(model.limits, row_scale="power_of_two"))
    with pytest.raises(InputError, match=r'limits\.row_scale is "power_of_two"'):
        verify(shifting)
