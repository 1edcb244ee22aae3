# SPDX-License-Identifier: Apache-2.0
"""Lowering of softmax and masks, one rule per algorithm. A table at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from aocq.capture import FloatNode
from aocq.lowering.builder import Builder
from aocq.lowering.chip_tables import Codes, at_codes
from aocq.lowering.factors import fixed_point
from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.quantizers import LevelQuantizer, Quantizer
from simulator.errors import InputError
from simulator.graph.graph import Tensor
from simulator.graph.ops import (
    Add,
    DeferredSoftmax,
    Lookup,
    Op,
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
)
from simulator.numerics import softmax_constants
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.integer_type import IntType, Overflow
from simulator.profile import DeferredLog2Softmax, SoftmaxSection

INT16 = IntType(bits=16)
# Algorithms whose lowest code is no small probability, and why.
SHORT_RANGES: Mapping[str, str] = MappingProxyType(
    {"ita_shift": "rescales scores to a few octaves, the lowest of which still counts"}
)


def mask(builder: Builder, node: FloatNode) -> None:
    """A saturating sum that takes scores that are switched off to their lowest code.

    ``a + (2^bits - 1) * b`` with b of -1 or 0 saturates at the lowest code, or is a. Nothing is
    rounded, at the chip's smallest shift.
    """
    algorithm = builder.profile.softmax.algorithm
    if algorithm in SHORT_RANGES:
        raise InputError(
            f"{node.name}: a mask takes scores to their lowest code, and profile "
            f'{builder.profile.name} has softmax.algorithm = "{algorithm}", which '
            f"{SHORT_RANGES[algorithm]}; choose a profile with another softmax.algorithm, or a "
            "network without masks"
        )
    x = builder.tensor(node.inputs[0])
    low = builder.model.parameter(node.attributes["parameter"]) != 0
    overflow = builder.overflow("add")
    if overflow is Overflow.WRAP:
        raise InputError(
            f"{node.name}: a mask takes scores to their lowest code by a sum that saturates, and "
            f'profile {builder.profile.name} has rescale.overflow = "wrap"; add the table '
            '[ops.add] with rescale.overflow = "saturate" if its sums can saturate'
        )
    section = builder.profile.rescale_of("add")
    shift = section.shift[0]
    multipliers = [
        builder.multiplier(f"{node.name}.multiplier_{side}", factor << shift, section)
        for side, factor in (("a", 1), ("b", (1 << x.code_type.bits) - 1))
    ]
    codes = -low.astype(np.int64)
    builder.like(node, x)
    builder.graph.append(
        Add(
            name=node.name,
            a=x.name,
            b=builder.constant(f"{node.name}.off", codes, IntType(bits=1)),
            multiplier_a=multipliers[0],
            multiplier_b=multipliers[1],
            shift=shift,
            rounding=builder.rounding("add"),
            overflow=overflow,
        )
    )


class Scores(NamedTuple):
    """The tensor that a softmax reads, and its scale."""

    tensor: Tensor
    scale: float


def softmax(builder: Builder, node: FloatNode) -> None:
    """The softmax of the profile's algorithm.

    Where the method has levels of its own for probabilities, a table maps the chip's codes to them.
    """
    section = builder.profile.softmax
    scale = builder.scale(node.inputs[0], f"softmax {node.name}")
    scores = Scores(builder.tensor(node.inputs[0]), scale)
    quantizer = builder.quantizer(node)
    if section.algorithm == "deferred_log2" or isinstance(quantizer, LogarithmicQuantizer):
        _deferred(builder, node, scores, quantizer)
        return
    codes = IntType(bits=section.output_bits, signed=False)
    probability_scale = 2.0**-section.output_bits
    rule = _RULES[section.algorithm]
    if not isinstance(quantizer, LevelQuantizer):
        if (
            builder.scale(node.name, "a softmax's result") != probability_scale
            or quantizer.type != codes
        ):
            raise InputError(
                f"{node.name}: softmax yields {codes} at scale {probability_scale} on profile "
                f"{builder.profile.name}, its quantizer has {quantizer.type} at {quantizer.scale}; "
                "quantize probabilities to that scale, or to levels"
            )
        builder.graph.append(rule(builder, node.name, scores, section))
        builder.result(node)
        return
    name = f"{node.name}.codes"
    builder.graph.append(rule(builder, name, scores, section))
    builder.graph.declare(name, node.shape, codes, scale=(probability_scale,))
    builder.result(node)
    levels = quantizer.integer_codes(np.arange(codes.high + 1.0) * probability_scale)
    constant = builder.constant(f"{node.name}.levels", levels, quantizer.type)
    builder.graph.append(Lookup(name=node.name, a=name, table=constant))


def _deferred(builder: Builder, node: FloatNode, scores: Scores, quantizer: Quantizer) -> None:
    """Logarithms of exponentials, which the product that reads them divides by their sum."""
    profile, wanted = builder.profile, None
    if isinstance(profile.softmax, DeferredLog2Softmax):
        bits, per_octave = profile.softmax.output_bits, profile.softmax.levels_per_octave
        wanted = LogarithmicQuantizer.of(bits, per_octave)
    if not isinstance(quantizer, LogarithmicQuantizer) or quantizer != wanted:
        raise InputError(
            f"{node.name}: profile {profile.name} has softmax.algorithm = "
            f'"{profile.softmax.algorithm}", and the model\'s probabilities are other codes; '
            "quantize for this profile"
        )
    factor = softmax_constants.logarithm_factor(scores.scale, quantizer.levels_per_octave)
    fixed = fixed_point([factor], profile.rescale_of("softmax"))
    builder.graph.declare(node.name, node.shape, quantizer.type)  # rows have scales of their own
    builder.graph.append(
        DeferredSoftmax(
            name=node.name,
            a=scores.tensor.name,
            multiplier=int(fixed.multipliers[0]),
            shift=int(fixed.shifts[0]),
        )
    )


def _exp_table(builder: Builder, name: str, scores: Scores, section: Any) -> Op:
    """Tabulate exp of every possible difference to the row's maximum.

    A chip's own table is for scores of one scale, to which others are rescaled.
    """
    differences = np.arange(1 << scores.tensor.type.bits)
    largest = (1 << section.table_bits) - 1
    table = np.floor(np.exp(-scores.scale * differences) * largest + 0.5).astype(np.int64)
    if section.table is not None:
        wanted = Codes(IntType(bits=builder.profile.activation.bits), section.table.input_scale)
        scores = _rescaled(builder, name, scores, wanted)
        table = np.array(section.table.entries)
    int_type = IntType(bits=section.table_bits, signed=False)
    shift = _probability_shift(builder, section)
    return Softmax(
        name=name,
        a=scores.tensor.name,
        table=builder.constant(f"{name}.table", table, int_type),
        reciprocal_bits=shift + section.output_bits,
        shift=shift,
        rounding=builder.rounding("softmax"),
        overflow=builder.overflow("softmax"),
        normalisation=section.normalisation,
    )


def _rescaled(builder: Builder, name: str, scores: Scores, wanted: Codes) -> Scores:
    """Return scores whose codes are worth what a table or an octave wants; any zero point does."""
    source = scores.tensor
    if source.type == wanted.type:
        wanted = replace(wanted, zero_point=source.zero_point)
        source = replace(source, scale=(scores.scale,))
        if wanted.are_of(source):
            return scores
    wanted = replace(wanted, zero_point=0)
    found = at_codes(builder, f"{name}.scores", source, np.array([scores.scale]), wanted)
    return Scores(found, wanted.scale)


def _probability_shift(builder: Builder, section: Any) -> int:
    """Return the shift behind the product of exponential and reciprocal.

    The reciprocal has as many bits as the profile says, or as the chip's largest shift allows.
    """
    low, high = builder.profile.rescale_of("softmax").shift
    shift = min(section.reciprocal_bits - section.output_bits, high)
    if not max(low, section.table_bits) <= shift:
        raise ValueError(
            f"a table of softmax.table_bits = {section.table_bits} and a reciprocal of "
            f"softmax.reciprocal_bits = {section.reciprocal_bits} need a shift of "
            f"{section.table_bits} to {section.reciprocal_bits - section.output_bits}, "
            f"rescale.shift has {low}..{high}; choose another profile, or exponentials of fewer "
            "bits"
        )
    return int(shift)


def _gemmlowp(_: Builder, name: str, scores: Scores, __: Any) -> Op:
    constants = softmax_constants.gemmlowp_constants(scores.scale)
    return SoftmaxGemmlowp(name=name, a=scores.tensor.name, **constants._asdict())


def _lut513(builder: Builder, name: str, scores: Scores, section: Any) -> Op:
    """The chip's own tables, or such as TensorFlow Lite Micro makes them.

    LiteRT's in float64 differ in two entries.
    """
    multiplier, left_shift = softmax_constants.lut513_multiplier(scores.scale)
    tables = softmax_constants.lut513_tables(np.float32)._asdict()
    if section.exponential_table is not None:
        tables["exp_table"] = np.array(section.exponential_table.entries)
    if section.reciprocal_table is not None:
        tables["reciprocal_table"] = np.array(section.reciprocal_table.entries)
    names = {
        key: builder.constant(f"{name}.{key}", table.astype(np.int64), INT16)
        for key, table in tables.items()
    }
    return SoftmaxLut513(
        name=name,
        a=scores.tensor.name,
        input_multiplier=multiplier,
        input_left_shift=left_shift,
        **names,
    )


def _float_table(builder: Builder, name: str, scores: Scores, section: Any) -> Op:
    table = softmax_constants.float_table(scores.scale, bits=scores.tensor.type.bits)
    return SoftmaxFloatTable(
        name=name,
        a=scores.tensor.name,
        table=builder.graph.constant(f"{name}.table", table, FLOAT32),
        rounding=section.rounding,
    )


def _ibert(_: Builder, name: str, scores: Scores, __: Any) -> Op:
    constants = softmax_constants.ibert_constants(scores.scale)
    return SoftmaxIBert(name=name, a=scores.tensor.name, **constants._asdict())


def _shiftmax(_: Builder, name: str, scores: Scores, section: Any) -> Op:
    """Shiftmax of k bits yields k - 1 bits of probability."""
    return Shiftmax(
        name=name,
        a=scores.tensor.name,
        x0=softmax_constants.shiftmax_constants(scores.scale),
        n=section.largest_exponent,
        output_bits=section.output_bits + 1,
    )


def _ita(builder: Builder, name: str, scores: Scores, section: Any) -> Op:
    """An octave is a fixed number of codes: scores at another scale are rescaled first."""
    octave_scale = math.log(2) / (1 << section.octave_bits)
    wanted = Codes(scores.tensor.code_type, octave_scale)
    return SoftmaxIta(
        name=name,
        a=_rescaled(builder, name, scores, wanted).tensor.name,
        octave_bits=section.octave_bits,
        group=section.group,
        largest=(1 << section.output_bits) - 1,
    )


def _log2(builder: Builder, name: str, scores: Scores, section: Any) -> Op:
    """Logarithms, and the powers of two that they stand for by a table."""
    constants = softmax_constants.log2_constants(scores.scale)
    logarithms = f"{name}.log2"
    int_type = IntType(bits=section.code_bits, signed=False)
    builder.graph.declare(logarithms, scores.tensor.shape, int_type)
    builder.graph.append(
        SoftmaxLog2(
            name=logarithms,
            a=scores.tensor.name,
            n=section.largest_exponent,
            **constants._asdict(),
        )
    )
    codes = IntType(bits=section.output_bits, signed=False)
    powers = [min((1 << section.output_bits) >> code, codes.high) for code in range(int_type.high)]
    table = builder.constant(f"{name}.powers", np.array([*powers, 0]), codes)
    return Lookup(name=name, a=logarithms, table=table)


Rule = Callable[[Builder, str, Scores, SoftmaxSection], Op]
_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "exp_table": _exp_table,
        "gemmlowp_q5_26": _gemmlowp,
        "lut513_q15": _lut513,
        "float32_table": _float_table,
        "ibert_poly": _ibert,
        "shiftmax": _shiftmax,
        "ita_shift": _ita,
        "log2": _log2,
    }
)
