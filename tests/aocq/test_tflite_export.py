# SPDX-License-Identifier: Apache-2.0
"""Networks of TFLite's profiles as files: LiteRT computes the graph's codes, or it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from asked import for_chip
from tiny_models import images
from torch import nn

from aocq.capture import FloatGraph
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from simulator.boundary import quantize
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.export.tflite_graph import from_file, to_file, translated
from simulator.graph import IntGraph
from simulator.graph.ops import Lookup, MatMul, SoftmaxGemmlowp
from simulator.numerics.rounding import Rounding
from simulator.profile import load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
IMAGES = 8


def lowered(graph: FloatGraph, name: str) -> IntGraph:
    profile = load_profile(name)
    recipe = for_chip(profile, activation_bits=profile.activation.operand_width)
    return lower(calibrated("base_ptq", graph, images(32, graph.input.shape), *recipe), profile)


@pytest.fixture(scope="module")
def reference(nano: Captured) -> IntGraph:
    return lowered(nano("class_token")[1], "litert_ref")


def with_constant(graph: IntGraph, name: str, codes: np.ndarray) -> IntGraph:
    return replace(graph, constants={**graph.constants, name: codes})


def first(graph: IntGraph, kind: type) -> MatMul:
    return next(op for op in graph.ops if isinstance(op, kind))


def by_litert(graph: IntGraph, codes: np.ndarray) -> np.ndarray:
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    from simulator.export.tflite_model import tflite_bytes

    file = translated(graph, len(codes)).file
    interpreter = interpreter_module.Interpreter(
        model_content=tflite_bytes(file.described(), file.constants),
        experimental_op_resolver_type=interpreter_module.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    stored = to_file(codes, graph.tensors[graph.inputs[0]])
    interpreter.set_tensor(source["index"], stored)
    interpreter.invoke()
    return from_file(interpreter.get_tensor(target["index"]), graph.tensors[graph.outputs[0]])


def codes_of(graph: IntGraph) -> np.ndarray:
    tensor = graph.tensors[graph.inputs[0]]
    return quantize(images(IMAGES, tensor.shape, seed=2).numpy(), tensor)


def test_reference_kernels_compute_the_graph_s_codes_bit_by_bit(reference: IntGraph) -> None:
    codes = codes_of(reference)
    ours = Executor(reference, threads=1).run(codes).outputs[reference.outputs[0]]
    assert (by_litert(reference, codes) == ours).all()


@pytest.mark.parametrize("name", ["litert_ruy", "litert_xnnpack", "tflm_cmsis_int8"])
def test_graphs_of_all_8_bit_profiles_have_a_file(nano: Captured, name: str) -> None:
    graph = lowered(nano("class_token")[1], name)
    assert set(translated(graph, 1).kinds) == {op.name for op in graph.ops}


def test_16_bit_gelu_is_named_as_nobody_s_operator(nano: Captured) -> None:
    graph = lowered(nano("class_token")[1], "tflm_int16x8")
    with pytest.raises(InputError, match=r"^op blocks\.0\.mlp\.act has no form in a \.tflite file"):
        translated(graph, 1)


def test_other_chips_are_refused_by_the_first_op_without_a_form(nano: Captured) -> None:
    graph = lowered(nano("class_token")[1], "edge_npu_int8")
    with pytest.raises(InputError, match=r"^op patch_embed\.proj has no form in a \.tflite file: "):
        translated(graph, 1)


def test_a_multiplier_that_nobody_derives_is_refused(nano: Captured) -> None:
    graph = lowered(nano("class_token")[1], "tflm_cmsis_int8")
    op = first(graph, MatMul)
    codes = graph.constants[op.requantize.multiplier].copy()
    codes[0] += 1
    changed = with_constant(graph, op.requantize.multiplier, codes)
    with pytest.raises(InputError, match=rf"{op.name} .* is none that TFLite derives"):
        translated(changed, 1)


def test_a_table_that_is_not_tflite_s_is_refused(reference: IntGraph) -> None:
    op = next(op for op in reference.ops if isinstance(op, Lookup) and "act" in op.name)
    table = reference.constants[op.table].copy()
    table[100] += 1
    with pytest.raises(InputError, match=rf"{op.name} .* its table is that of no operator"):
        translated(with_constant(reference, op.table, table), 1)


def test_another_rounding_is_refused(reference: IntGraph) -> None:
    op = first(reference, MatMul)
    other = replace(op, requantize=replace(op.requantize, rounding=Rounding.FLOOR))
    ops = tuple(other if one.name == op.name else one for one in reference.ops)
    with pytest.raises(InputError, match=r"floor.*no kernel of TFLite does so"):
        translated(replace(reference, ops=ops), 1)


def test_a_softmax_of_no_scale_is_refused(reference: IntGraph) -> None:
    op = first(reference, SoftmaxGemmlowp)
    other = replace(op, smallest_difference=op.smallest_difference + 1)
    ops = tuple(other if one.name == op.name else one for one in reference.ops)
    with pytest.raises(InputError, match="its constants are those of no float32 scale"):
        translated(replace(reference, ops=ops), 1)
