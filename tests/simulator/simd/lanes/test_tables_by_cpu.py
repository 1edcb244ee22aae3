# SPDX-License-Identifier: Apache-2.0
"""Tables in vector registers, in the form for each kind of CPU: its code, and its results here."""

from __future__ import annotations

from ctypes import CFUNCTYPE, c_int64, c_void_p

import numpy as np
import pytest
from llvmlite import binding, ir

from simulator.numerics.jit import cpu_features, has_avx2
from simulator.simd.lanes.lookup import PART, looked_up, permutes_bytes
from simulator.simd.lanes.softmax_row import BLOCK, RowPlaces, exponentiated, table_in_bytes
from simulator.simd.lanes.vectors import INT8, INT32, INT64

X86 = "x86_64-unknown-linux-gnu"
RANDOM = np.random.default_rng(5)
needs_avx2 = pytest.mark.skipif(not has_avx2(), reason="shuffles of AVX2")
forms_here = pytest.mark.parametrize("permutes", [False, True] if permutes_bytes() else [False])


def function(name, *kinds):
    """Begin a function that returns an int64; return its module, its builder, its arguments."""
    module = ir.Module()
    made = ir.Function(module, ir.FunctionType(INT64, kinds), name)
    return module, ir.IRBuilder(made.append_basic_block()), made.args


def lookup_text(permutes):
    """Return LLVM text of ``run(patterns, size, parts, table, out)``."""
    byte = INT8.as_pointer()
    module, builder, places = function("run", byte, INT64, byte, byte, byte)
    patterns, size, parts, table, out = places
    tables = None if permutes else parts, table
    builder.ret(looked_up(builder, patterns, size, tables, out))
    return str(module)


def exponentials_text(permutes, *, signed=True):
    """Return LLVM text of ``run(codes, columns, words, planes, exponentials)``."""
    byte, word = INT8.as_pointer(), INT32.as_pointer()
    module, builder, places = function("run", byte, INT64, word, byte, word)
    codes, columns, words, planes, exponentials = places
    row = RowPlaces(codes=codes, words=words, planes=planes, exponentials=exponentials)
    builder.ret(exponentiated(builder, row, columns, signed=signed, permutes=permutes))
    return str(module)


def machine(triple, cpu, features=""):
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def call_here(text, *arguments):
    """Compile a function for this CPU, and call it with arrays and numbers."""
    module = binding.parse_assembly(text)
    features = ",".join(f"{'+' if has else '-'}{name}" for name, has in cpu_features().items())
    here = machine(binding.get_process_triple(), binding.get_host_cpu_name(), features)
    given = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    kinds = [c_void_p if isinstance(a, np.ndarray) else c_int64 for a in arguments]
    with binding.create_mcjit_compiler(module, here) as engine:
        engine.finalize_object()
        return CFUNCTYPE(c_int64, *kinds)(engine.get_function_address("run"))(*given)


@pytest.mark.parametrize("text", [lookup_text, exponentials_text])
@pytest.mark.parametrize(
    ("cpu", "permutes"),
    [("haswell", False), ("skylake-avx512", False), ("icelake-client", True), ("znver4", True)],
)
def test_the_code_is_of_instructions_that_its_cpu_has(text, cpu, permutes):
    module = binding.parse_assembly(text(permutes))
    module.verify()
    code = machine(X86, cpu).emit_assembly(module)
    assert ("vpermi2b" in code or "vpermt2b" in code) == permutes
    assert cpu != "haswell" or "zmm" not in code


@needs_avx2
@forms_here
@pytest.mark.parametrize("size", [1, 63, 64, 256, 300])
def test_every_pattern_is_looked_up(permutes, size):
    table = RANDOM.permutation(256).astype(np.uint8)
    parts = np.repeat(table.reshape(-1, 1, PART), 2, axis=1).reshape(-1)
    patterns = np.resize(np.arange(256), size).astype(np.uint8)
    out = np.full(size, 77, np.uint8)
    done = call_here(lookup_text(permutes), patterns, size, parts, table, out)
    assert size - 64 < done <= size
    assert np.array_equal(out[:done], table[patterns[:done]])
    assert (out[done:] == 77).all()


@needs_avx2
@forms_here
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("columns", [1, 15, 16, 17, 63, 64, 65, 256, 300])
def test_exponentials_and_their_sum(permutes, signed, columns):
    kind = np.iinfo(np.int8 if signed else np.uint8)
    table = RANDOM.integers(0, 1 << 31, 256).astype(np.int32)
    table[:2] = (1 << 31) - 1, 0
    codes = np.resize(RANDOM.permutation(np.arange(kind.min, kind.max + 1)), columns + BLOCK)
    codes[columns:] = kind.max  # what is behind the row is not part of it
    codes[0] = kind.max if columns > 64 else codes[0]
    out = np.full(columns + BLOCK, -1, np.int32)
    stored = codes.astype(kind.dtype)
    text = exponentials_text(permutes, signed=signed)
    total = call_here(text, stored, columns, table, table_in_bytes(table), out)
    expected = table[codes[:columns].max() - codes[:columns]]
    assert np.array_equal(out[:columns], expected)
    assert total == expected.sum(dtype=np.int64)
    rest = out[columns:]
    assert not rest[: -columns % 16].any()  # zeros up to a register
