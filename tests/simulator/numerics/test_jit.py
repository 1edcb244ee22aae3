# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy

import numba
import pytest
from numba.core import config

from simulator.numerics import jit
from simulator.numerics.jit import kernel_cache_folder
from simulator.numerics.output_stage import fit_kernel
from simulator.ops.add import add_rows


def test_numba_keeps_its_own_setting():
    assert str(kernel_cache_folder()) != config.CACHE_DIR


@pytest.mark.parametrize("kernel", [fit_kernel, add_rows])
def test_kernels_are_compiled_without_relaxed_arithmetic(kernel):
    options = kernel.targetoptions
    assert options["nogil"] is True
    assert options["fastmath"] is False
    assert options["error_model"] == "python"
    assert kernel.py_func.__name__ == kernel.__name__


def test_a_copy_of_a_kernel_computes_the_same():
    again = copy.copy(fit_kernel)
    assert again.py_func is fit_kernel.py_func
    assert again(300, -128, 127, False) == fit_kernel(300, -128, 127, False)


@pytest.fixture
def features(monkeypatch):
    """Return a function that asks for the features under some of Numba's settings."""

    def found(**settings):
        for name, value in settings.items():
            monkeypatch.setattr(config, name, value)
        return jit.cpu_features.__wrapped__()

    return found


def test_features_are_those_that_kernels_are_compiled_for(features):
    compiled_for = numba.njit(lambda: 0).targetctx.codegen().magic_tuple()[2].split(",")
    assert {f"{'+' if has else '-'}{name}" for name, has in features().items()} == set(compiled_for)


def test_features_that_numba_is_told_of(features):
    assert features(CPU_FEATURES="+avx2,-avx512f,") == {"avx2": True, "avx512f": False}
    kept = features(CPU_FEATURES=None, ENABLE_AVX=0)
    assert not any(has for name, has in kept.items() if name.startswith("avx"))
