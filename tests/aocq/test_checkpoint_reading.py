# SPDX-License-Identifier: Apache-2.0
"""Which of a file's tensors are a network's weights, and which are no weights at all."""

from __future__ import annotations

import argparse
import pathlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from aocq.checkpoint import Checkpoint, read
from simulator.errors import InputError


def state(value: float = 1.0) -> dict[str, Tensor]:
    return {"head.weight": torch.full((2, 3), value), "head.bias": torch.full((2,), value)}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    def save(content: Any) -> Path:
        path = tmp_path / "weights.pth"
        torch.save(content, path)
        return path

    return save


def taken(checkpoint: Checkpoint) -> float:
    assert set(checkpoint.tensors) == {"head.weight", "head.bias"}
    return float(checkpoint.tensors["head.weight"][0, 0])


@pytest.mark.parametrize(
    ("content", "value", "said"),
    [
        ({"state_dict": state(1), "state_dict_ema": state(2)}, 2, "from state_dict_ema, a moving"),
        ({"model": state(1), "model_ema": state(2)}, 2, "model_ema, .*, not from model beside it"),
        ({"model": state(1), "ema": state(2)}, 2, r"ema, a moving average of weights \(EMA\)"),
        ({"model": state(1), "ema": {"module": state(2)}}, 2, "from ema, .* not from model"),
        ({"model_ema": state(2)}, 2, "from model_ema, a moving average"),
        ({"state_dict": state(1), "model": state(2)}, 1, "from state_dict, not from model beside"),
        ({"state_dict": state(1), "state_dict_ema": None}, 1, ""),
        ({"model": state(1), "model_ema": {}}, 1, "from model: model_ema beside it has no weights"),
        (
            {"model": state(1), "ema": {"decay": torch.tensor(0.9)}},
            *(1, "from model: ema beside it has no weights"),
        ),
        ({"model": state(1), "ema_state_dict": state(2)}, 1, "model, not from ema_state_dict bes"),
        (
            {
                "state_dict": state(1),
                "best": {"net": {f"module.{k}": v for k, v in state(2).items()}},
            },
            *(1, "from state_dict, not from best beside it, as in timm"),
        ),
        ({"model": state(1), "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, 1, ""),
        ({"model": state(1), "ema": {"shadow_params": []}}, 1, "from model: ema beside it has no"),
        ({"module": state(1), "lr_scheduler": None}, 1, ""),
        ({"model": {"state_dict": state(1)}, "epoch": 3}, 1, ""),
        (state(1), 1, ""),
    ],
    ids=str,
)
def test_of_several_weights_those_are_taken_that_timm_takes_and_it_is_said(
    content: Any, value: float, said: str, saved: Callable[[Any], Path]
) -> None:
    found = read(saved(content))
    assert taken(found) == value
    assert len(found.taken) == bool(said)
    if said:
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(found.taken[0])


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "model."),
        *("module._orig_mod.", "_orig_mod.module.", "model.module.", "model._orig_mod.module."),
        "_orig_mod.module._orig_mod.",
    ],
)
def test_what_wrappers_put_before_names_is_removed(
    prefix: str, saved: Callable[[Any], Path]
) -> None:
    wrapped = {prefix + name: value for name, value in state().items()}
    assert taken(read(saved({"state_dict": wrapped}))) == 1


def test_what_wrappers_put_into_names_is_removed(saved: Callable[[Any], Path]) -> None:
    names = ("blocks.0._orig_mod.norm1.weight", "blocks.1._checkpoint_wrapped_module.norm1.weight")
    found = read(saved({f"module.{name}": torch.ones(2) for name in names})).tensors
    assert set(found) == {"blocks.0.norm1.weight", "blocks.1.norm1.weight"}


@pytest.mark.parametrize("other", ["module.head.bias", "model.head.bias", "_orig_mod.head.bias"])
def test_two_names_of_the_same_weights_are_refused(
    other: str, saved: Callable[[Any], Path]
) -> None:
    both = {**state(), other: torch.zeros(2)}
    with pytest.raises(InputError, match=f"head.bias and {other} are the same weights' names"):
        read(saved(both))


def test_what_training_scripts_keep_beside_the_weights_is_passed_over(
    saved: Callable[[Any], Path],
) -> None:
    counted = defaultdict(list, a=[1])
    beside = {
        "args": argparse.Namespace(model="vit", lr=np.float64(0.1), out=pathlib.Path("runs")),
        "metric": np.float32(0.5),
        "rng": np.arange(3),
        "history": counted,
        "when": pathlib.PurePosixPath("a"),
    }
    assert taken(read(saved({"state_dict": OrderedDict(state()), **beside}))) == 1


class Bytes:
    """A pickle that fills the memory by what the unpickler allows."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (bytearray, (2**44,))


@pytest.mark.parametrize("zipped", [True, False])
def test_bytes_of_any_number_are_not_made(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    content = {"state_dict": state(), "x": Bytes()}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"more than tensors \(builtins.bytearray\), and code in"):
        read(path)


class CfgNode(dict[str, Any]):
    """As Swin's training script pickles its options."""


def test_dictionaries_of_their_own_kind_are_passed_over(
    saved: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    module = types.ModuleType("yacs.config")
    module.CfgNode = CfgNode  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    monkeypatch.setattr(CfgNode, "__module__", "yacs.config")
    node = CfgNode(DATA=CfgNode(BATCH=3))
    node.frozen = False  # type: ignore[attr-defined]
    path = saved({"model": state(), "config": node})
    monkeypatch.undo()
    assert b"yacs.config" in path.read_bytes()
    assert taken(read(path)) == 1
    assert "yacs" not in sys.modules


def test_weights_that_are_arrays_are_told_by_name(saved: Callable[[Any], Path]) -> None:
    arrays = {name: tensor.numpy() for name, tensor in state().items()}
    with pytest.raises(
        InputError, match=r"save the model's state_dict\(\): head.weight is a NumPy a"
    ):
        read(saved(arrays))
    with pytest.raises(InputError, match="model is a dict of NumPy arrays"):
        read(saved({"model": arrays}))


@pytest.mark.parametrize(
    ("content", "way_out"),
    [
        ({"net": state(), "epoch": 3}, r"save checkpoint\['net'\]: net is a dict"),
        ({"params": state()}, r"save checkpoint\['params'\]: params is a dict"),
        ({"a": state(), "b": state()}, r"save checkpoint\['a'\] or checkpoint\['b'\]: a is"),
        ({"model": {"model": {}, "net": state()}}, r"save checkpoint\['model'\]\['net'\]: "),
    ],
    ids=str,
)
def test_where_in_a_file_the_weights_are_is_told(
    content: Any, way_out: str, saved: Callable[[Any], Path]
) -> None:
    with pytest.raises(InputError, match=way_out):
        read(saved(content))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({**state(), "epoch": 3}, r"epoch is a int \(among head.weight, head.bias, epoch\)"),
        ({"teacher": state(), "student": state()}, r"teacher is a dict \(among teacher, student"),
        ({}, "it is empty"),
        ({"\x1b[2J": 1}, r"\\x1b\[2J is a int"),
        ({("a", 1): torch.ones(1)}, "one has a tuple for a name"),
    ],
    ids=str,
)
def test_the_culprit_among_names_is_told(
    content: Any, why: str, saved: Callable[[Any], Path]
) -> None:
    with pytest.raises(InputError, match=why) as caught:
        read(saved(content))
    assert str(caught.value).isprintable()


def test_levels_without_an_end_are_refused(saved: Callable[[Any], Path]) -> None:
    endless: dict[str, Any] = {}
    endless["model"] = endless
    with pytest.raises(InputError, match="model is a dict"):
        read(saved(endless))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
def test_floats_of_any_width_are_read_as_float32(
    dtype: torch.dtype, saved: Callable[[Any], Path]
) -> None:
    given = torch.linspace(-3, 3, 24, dtype=torch.float32).reshape(4, 6).to(dtype)
    found = read(saved({"a": given.T, "b": torch.nn.Parameter(given[1:, ::2])})).tensors
    assert found["a"].dtype == found["b"].dtype == torch.float32
    assert torch.equal(found["a"], given.T.float())
    assert torch.equal(found["b"], given[1:, ::2].float())
    assert not found["b"].requires_grad


def _nested() -> Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


UNUSUAL: Mapping[str, tuple[Callable[[], Tensor], str]] = {
    "sparse": (lambda: torch.eye(3).to_sparse(), "a sparse tensor"),
    "csr": (lambda: torch.eye(3).to_sparse_csr(), "a sparse tensor"),
    "meta": (lambda: torch.ones(3, device="meta"), r"a tensor without values \(on device meta\)"),
    "quantized": (
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "a quantized tensor",
    ),
    "nested": (_nested, "a nested tensor"),
}


@pytest.mark.filterwarnings("ignore")  # torch's own, of kinds of tensors that may change
@pytest.mark.parametrize("kind", UNUSUAL)
def test_tensors_that_are_not_stored_number_by_number_are_refused_by_name(
    kind: str, saved: Callable[[Any], Path]
) -> None:
    make, what = UNUSUAL[kind]
    with pytest.raises(InputError, match=f"blocks.0.x is {what}") as caught:
        read(saved({**state(), "blocks.0.x": make()}))
    assert "--weights wants a float network's" in str(caught.value)


def test_one_number_that_is_stored_as_many_is_refused(saved: Callable[[Any], Path]) -> None:
    few = torch.ones(1).expand(2**20, 2**20)
    with pytest.raises(InputError, match=r"head.weight.: few are repeated; save clones"):
        read(saved({"head.weight": few}))
    small = read(saved({"a": torch.ones(1).expand(3, 4), "b": torch.tensor(2.0)})).tensors
    assert small["a"].sum() == 12
    assert small["b"].shape == ()


def test_a_float64_beyond_float32_is_refused(saved: Callable[[Any], Path]) -> None:
    wide = torch.tensor([1.0, 1e39, -1e300], dtype=torch.float64)
    with pytest.raises(InputError, match=r"head.bias has 2 values beyond float32's range"):
        read(saved({"head.bias": wide}))
    with pytest.raises(InputError, match=r"head.bias has 1 value beyond float32's range"):
        read(saved({"head.bias": wide[:2]}))


def test_metadata_of_a_safetensors_file_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(state(), path, metadata={"format": "pt"})
    assert taken(read(path)) == 1
