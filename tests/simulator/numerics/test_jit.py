# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from numba.core import config

from simulator.numerics import jit
from simulator.numerics.jit import kernel_cache_folder
from simulator.numerics.requantization import fit_kernel
from simulator.ops.add import add_rows


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the folders that hold kernels, in place of the real ones."""
    for name in ("numerics/jit.py", "numerics/rounding.py", "ops/add.py"):
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# some kernel\n")
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "package" / "numerics" / "jit.py"))
    monkeypatch.setenv("AOCQ_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "package"


def folder_now():
    return kernel_cache_folder.__wrapped__()


@pytest.mark.parametrize("name", ["numerics/jit.py", "numerics/rounding.py", "ops/add.py"])
def test_an_edit_of_any_kernel_leads_to_another_cache(package, name):
    before = folder_now()
    assert before.parent == package.parent / "cache"
    assert folder_now() == before
    (package / name).write_text("# another kernel\n")
    assert folder_now() != before
    (package / name).write_text("# some kernel\n")
    assert folder_now() == before


def test_a_new_kernel_leads_to_another_cache(package):
    before = folder_now()
    (package / "ops" / "new.py").write_text("# a kernel\n")
    assert folder_now() != before


def test_another_numba_leads_to_another_cache(package, monkeypatch):
    before = folder_now()
    monkeypatch.setattr("numba.__version__", "0.0.1")
    assert folder_now() != before


def test_numba_keeps_its_own_setting():
    assert str(kernel_cache_folder()) != config.CACHE_DIR


@pytest.mark.parametrize("kernel", [fit_kernel, add_rows])
def test_kernels_are_compiled_without_relaxed_arithmetic(kernel):
    options = kernel.targetoptions
    assert options["nogil"] is True
    assert options["fastmath"] is False
    assert options["error_model"] == "python"
    assert kernel.py_func.__name__ == kernel.__name__
