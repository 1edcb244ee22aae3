# SPDX-License-Identifier: Apache-2.0
"""The tile by itself: the code of each instruction for its CPU, and its sums on this one."""

from __future__ import annotations

import re
from ctypes import CFUNCTYPE, c_int64, c_void_p

import numpy as np
import pytest
from llvmlite import binding, ir

from simulator.numerics.jit import cpu_features, has_avx2, has_vnni
from simulator.simd.lanes.vectors import INT8, INT32, INT64, constant, element
from simulator.simd.product.dot import PLAIN, VPDPBSSD, VPDPBUSD
from simulator.simd.product.tile import (
    NARROW,
    STEP_BYTES,
    TILE_COLUMNS,
    UNROLLED,
    WIDE,
    Places,
    multiply_in_32_bits,
    pairs_added,
    quads_added,
)

TERMS = 4
X86 = "x86_64-unknown-linux-gnu"
ARM = "aarch64-unknown-linux-gnu"
SHAPES = {"narrow": NARROW, "wide": WIDE}


def tile_of_bytes(shape, added):
    """Return LLVM text of ``tile(left, stride, columns, sums, steps)``; strides in bytes."""
    module = ir.Module()
    byte = INT8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, INT64, byte, INT32.as_pointer(), INT64])
    function = ir.Function(module, kind, "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    left, stride, columns, sums, steps = function.args
    rows = [element(builder, left, (stride, row)) for row in range(shape.rows)]
    lanes = shape.register.count
    tile = [
        element(builder, sums, (constant(row), TILE_COLUMNS), (constant(register), lanes))
        for row, register in shape.spots
    ]
    multiply_in_32_bits(builder, Places(rows, columns, tile, tile), steps, shape, added(builder))
    builder.ret_void()
    return str(module)


def quads(instruction, *, signed=False):
    return lambda builder: quads_added(builder, signed, instruction)


def machine(triple, cpu, features=""):
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def assembly(text, triple, cpu):
    module = binding.parse_assembly(text)
    module.verify()
    return machine(triple, cpu).emit_assembly(module)


@pytest.mark.parametrize(
    ("cpu", "shape", "added", "instruction", "register"),
    [
        ("alderlake", NARROW, quads(VPDPBUSD), "vpdpbusd", "ymm"),  # AVX-VNNI, 16 registers
        ("znver4", NARROW, quads(VPDPBUSD), "vpdpbusd", "ymm"),  # AVX512-VNNI
        ("znver4", WIDE, quads(VPDPBUSD), "vpdpbusd", "zmm"),
        ("sapphirerapids", WIDE, quads(VPDPBUSD), "vpdpbusd", "zmm"),
        ("sierraforest", NARROW, quads(VPDPBSSD, signed=True), "vpdpbssd", "ymm"),
        ("haswell", NARROW, pairs_added, "vpmaddwd", "ymm"),
    ],
)
def test_a_step_is_one_instruction_for_each_register_and_none_is_put_aside(
    cpu, shape, added, instruction, register
):
    code = assembly(tile_of_bytes(shape, added), X86, cpu)
    found = re.findall(rf"\b{instruction}\b.*%{register}\d+\n", code)
    assert len(found) == UNROLLED * len(shape.spots)
    assert not re.findall(r"%[yz]mm\d+, -?\d*\(%rsp\)", code)


@pytest.mark.parametrize(
    ("triple", "cpu"), [(X86, "haswell"), (X86, "x86-64"), (ARM, "cortex-a72")]
)
@pytest.mark.parametrize("signed", [False, True])
def test_plain_operations_compile_for_any_cpu(triple, cpu, signed):
    code = assembly(tile_of_bytes(NARROW, quads(PLAIN, signed=signed)), triple, cpu)
    assert "tile:" in code
    assert "vpdp" not in code


def usable_here():
    """Return instruction, signedness of left bytes and shape of what this CPU can run."""
    found = [(PLAIN, signed, shape) for signed in (False, True) for shape in SHAPES]
    if has_vnni():
        found += [(VPDPBUSD, False, "narrow")]
    if cpu_features().get("avx512vnni"):
        found += [(VPDPBUSD, False, "wide")]
    if cpu_features().get("avxvnniint8"):
        found += [(VPDPBSSD, True, "narrow")]
    return found


def run(text, left, columns, sums):
    """Compile a tile for this CPU, and add a product to ``sums``."""
    module = binding.parse_assembly(text)
    features = ",".join(f"{'+' if has else '-'}{name}" for name, has in cpu_features().items())
    here = machine(binding.get_process_triple(), binding.get_host_cpu_name(), features)
    with binding.create_mcjit_compiler(module, here) as engine:
        engine.finalize_object()
        kind = CFUNCTYPE(None, c_void_p, c_int64, c_void_p, c_void_p, c_int64)
        steps = left.shape[1] // TERMS
        kind(engine.get_function_address("tile"))(
            left.ctypes.data, left.shape[1], columns.ctypes.data, sums.ctypes.data, steps
        )


@pytest.mark.skipif(not has_avx2(), reason="registers of 256 bits")
@pytest.mark.parametrize(("instruction", "signed", "shape"), usable_here())
@pytest.mark.parametrize("steps", [2, 16, 66])
def test_all_instructions_are_exact_on_extreme_codes(instruction, signed, shape, steps):
    rng = np.random.default_rng(steps)
    shape = SHAPES[shape]
    terms = TERMS * steps
    ends = (-128, 127, -1, 0) if signed else (255, 0, 128, 127)
    left = rng.choice(np.array(ends), (shape.rows, terms)).astype(np.int8 if signed else np.uint8)
    right = rng.choice(np.array([-128, 127, -1, 1]), (terms, TILE_COLUMNS)).astype(np.int8)
    left[0], right[:, 0], right[:, 1] = ends[0], -128, 127  # the largest sums
    columns = np.ascontiguousarray(right.reshape(steps, TERMS, TILE_COLUMNS).transpose(0, 2, 1))
    assert columns.strides[0] == STEP_BYTES * TILE_COLUMNS
    start = rng.integers(-(1 << 20), 1 << 20, (shape.rows, TILE_COLUMNS)).astype(np.int32)
    sums = start.copy()
    run(tile_of_bytes(shape, quads(instruction, signed=signed)), left, columns, sums)
    assert np.array_equal(sums, start + left.astype(np.int64) @ right.astype(np.int64))


@pytest.mark.skipif(not has_avx2(), reason="registers of 256 bits")
@pytest.mark.parametrize(("instruction", "signed", "shape"), usable_here())
def test_sums_reach_the_ends_of_32_bits_and_wrap_beyond(instruction, signed, shape):
    shape = SHAPES[shape]
    left = np.full((shape.rows, 2 * TERMS), 127, np.int8)
    columns = np.full((2, TILE_COLUMNS, TERMS), -128, np.int8)
    product = 2 * TERMS * 127 * -128
    text = tile_of_bytes(shape, quads(instruction, signed=signed))
    for start in (-(1 << 31) - product, -(1 << 31) - product - 1):
        sums = np.full((shape.rows, TILE_COLUMNS), start, np.int64).astype(np.int32)
        expected = (np.int64(start + product) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
        run(text, left, columns, sums)
        assert (sums == expected).all()
