# SPDX-License-Identifier: Apache-2.0
"""Rates of products: measured on one core, kept in a file that may be damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from simulator.gemm import BlasGemm, NumbaGemm, backend
from simulator.graph.verify import verify_one_op
from simulator.kernel_choice import kernel_of
from simulator.numerics.jit import has_avx2
from simulator.product_choice import KeptRates, Kind, ProductClass, Rate, measuring
from simulator.product_choice.measuring import Trial, measure

KEY = {"cpu": "this one", "versions": {"torch": None}}


def product_class(kind, *size, bits=8):
    rows, terms, columns = size
    return ProductClass(kind=kind, weight_bits=bits, rows=rows, terms=terms, columns=columns)


LAYER = product_class(Kind.LAYER, 8, 64, 64)
ATTENTION = product_class(Kind.ATTENTION, 16, 32, 16)
RATES = {"avx2": Rate(gops=300.0), "blas": Rate(gops=90.5, at_most=True)}


class Slow(NumbaGemm):
    """Every product again and again."""

    name = "slow"

    def prepare(self, b):
        product = super().prepare(b)
        return lambda a: max((product(a) for _ in range(40)), key=len)


# --- measuring ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bits"),
    [*((kind, 8) for kind in Kind), (Kind.LAYER, 4), (Kind.NARROW_LAYER, 4), (Kind.LAYER_SUMS, 4)],
)
def test_a_trial_is_a_valid_op_whose_kernels_agree(kind, bits):
    size = (8, 384, 16) if kind.has_weights else (16, 64, 16)
    trial = Trial.of(product_class(kind, *size, bits=bits))
    assert verify_one_op(trial.graph) == []
    right = trial.graph.constants["b"] if trial.right is None else trial.right
    expected = kernel_of(trial.matmul, trial.graph, backend("numba"), portable=True)(
        [trial.left, right]
    )
    assert len(np.unique(expected.codes)) > 20, "values of a network, neither all zero nor all cut"
    assert expected.saturated < 0.1 * expected.codes.size
    fast = kernel_of(trial.matmul, trial.graph, backend("avx2" if has_avx2() else "blas"))
    found = fast([trial.left, right])
    assert np.array_equal(found.codes, expected.codes)
    assert found.sums == expected.sums


@pytest.mark.parametrize("which", [LAYER, product_class(Kind.ATTENTION_SUMS, 16, 32, 16)])
def test_the_slower_backend_has_the_lower_rate(which):
    found = measure(which, [NumbaGemm(), Slow()])
    assert found["numba"].gops > 2 * found["slow"].gops > 0
    assert not found["numba"].at_most


def test_an_op_that_its_product_rules_out_is_not_built(monkeypatch):
    built = []

    def noted(op, graph, gemm):
        built.append(gemm.name)
        return kernel_of(op, graph, gemm)

    monkeypatch.setattr(measuring, "kernel_of", noted)
    found = measure(LAYER, [NumbaGemm(), Slow()])
    assert found["slow"].at_most
    assert {*built} == {"numba"}
    built.clear()
    quick = measure(LAYER, [Slow(), NumbaGemm()])
    assert not quick["numba"].at_most
    assert "numba" in built


def test_large_layers_are_timed_with_fewer_rows():
    trial = Trial.of(product_class(Kind.LAYER, 1576, 3072, 1536))
    assert trial.left.shape == (1, 96, 3072)
    assert trial.gops(1.0) == pytest.approx(2e-9 * 96 * 3072 * 1536)
    matrices = Trial.of(ATTENTION)
    assert matrices.gops(1.0) == pytest.approx(2e-9 * 12 * 16 * 32 * 16)


def test_torch_keeps_its_threads(monkeypatch):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        measure(product_class(Kind.LAYER_SUMS, 8, 64, 64), [BlasGemm(), backend("torch")])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# --- keeping --------------------------------------------------------------------------------------


def opened(folder, key=None):
    return KeptRates.opened(folder, key or KEY)


def test_rates_are_found_again_by_other_processes(tmp_path):
    folder = tmp_path / "products"
    first = opened(folder)
    first.keep({LAYER: RATES})
    again = opened(folder)
    assert again.rates == {LAYER: RATES}
    assert again.of(ATTENTION) == {}
    assert [path.suffix for path in folder.iterdir()] == [".json"], "nothing temporary is left"


def test_rates_of_another_machine_or_version_are_not_taken(tmp_path):
    opened(tmp_path).keep({LAYER: RATES})
    assert opened(tmp_path, {**KEY, "cpu": "another"}).rates == {}
    kept = opened(tmp_path)
    (path,) = tmp_path.iterdir()
    plain = json.loads(path.read_text("utf-8"))
    plain["key"]["versions"]["torch"] = "2.0"  # the right name, another key
    path.write_text(json.dumps(plain), "utf-8")
    assert opened(tmp_path).rates == {}
    assert kept.rates == {LAYER: RATES}


def test_what_two_processes_found_is_kept_together(tmp_path):
    one, other = opened(tmp_path), opened(tmp_path)
    one.keep({LAYER: RATES})
    other.keep({ATTENTION: RATES, LAYER: {"torch": Rate(gops=1.0)}})
    found = opened(tmp_path).rates
    assert found == {ATTENTION: RATES, LAYER: {**RATES, "torch": Rate(gops=1.0)}}
    assert other.rates == found


DAMAGES = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "no object": lambda text: "[1, 2]",
    "another format": lambda text: text.replace('"format": 1', '"format": 2'),
    "not a number": lambda text: text.replace("300.0", "NaN"),
    "a number as text": lambda text: text.replace("300.0", '"300"'),
    "endless": lambda text: text.replace("300.0", "1e999"),
    "not positive": lambda text: text.replace("300.0", "0.0"),
    "true for a number": lambda text: text.replace("300.0", "true"),
    "a number for true": lambda text: text.replace("true", "1"),
    "an unknown kind": lambda text: text.replace('"layer"', '"player"'),
    "no size": lambda text: text.replace('"size"', '"sizes"'),
    "a size of three numbers and more": lambda text: text.replace("[", "[5,"),
    "a negative size": lambda text: text.replace('"weight_bits": 8', '"weight_bits": -8'),
    "a list of rates": lambda text: text.replace('"rates": {', '"rates": [], "more": {'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_as_none_and_written_again(tmp_path, damage):
    opened(tmp_path).keep({LAYER: RATES})
    (path,) = tmp_path.iterdir()
    text = path.read_text("utf-8")
    spoiled = DAMAGES[damage](text)
    assert spoiled != text
    path.write_text(spoiled, "utf-8")
    kept = opened(tmp_path)
    assert kept.rates == {}
    kept.keep({ATTENTION: RATES})
    assert opened(tmp_path).rates == {ATTENTION: RATES}


def test_what_is_no_file_is_as_none(tmp_path):
    opened(tmp_path).keep({LAYER: RATES})
    (path,) = tmp_path.iterdir()
    path.unlink()
    path.mkdir()
    kept = opened(tmp_path)
    kept.keep({LAYER: RATES})
    assert (kept.rates, opened(tmp_path).rates) == ({LAYER: RATES}, {})


def test_a_folder_that_others_can_write_is_not_used(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    kept = opened(folder)
    kept.keep({LAYER: RATES})
    assert kept.rates == {LAYER: RATES}
    assert [*folder.iterdir()] == []


def test_without_a_folder_rates_last_as_long_as_the_process():
    kept = opened(None)
    kept.keep({LAYER: RATES})
    assert kept.of(LAYER) == RATES
