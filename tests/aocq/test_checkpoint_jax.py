# SPDX-License-Identifier: Apache-2.0
"""NumPy archives as JAX's vision transformers are published in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import byte_mutants
from numpy.typing import NDArray
from tiny_models import with_random_parameters
from torch import Tensor, nn

from aocq.checkpoint import read_for
from aocq.zoo.models import load_model, timm
from simulator.errors import InputError

NAME = "vit_tiny_patch16_224"
CUT: dict[str, Any] = {
    **{"img_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 3},
    "mlp_ratio": 1,
}
CLASSES = 5


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return with_random_parameters(timm.create_model(NAME, num_classes=CLASSES, **CUT))


def published(state: dict[str, Tensor], heads: int = 3) -> dict[str, NDArray[Any]]:
    """The same network under the names and in the orders of axes of Google's checkpoints."""
    own = {key: tensor.numpy() for key, tensor in state.items()}
    found = {
        "cls": own["cls_token"],
        "embedding/kernel": own["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": own["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": own["pos_embed"],
        "Transformer/encoder_norm/scale": own["norm.weight"],
        "Transformer/encoder_norm/bias": own["norm.bias"],
        "head/kernel": own["head.weight"].T,
        "head/bias": own["head.bias"],
    }
    width = len(own["norm.weight"])
    for index in range(CUT["depth"]):
        block, out = f"blocks.{index}.", f"Transformer/encoderblock_{index}/"
        attention = f"{out}MultiHeadDotProductAttention_1/"
        for norm, number in (("norm1", 0), ("norm2", 2)):
            found[f"{out}LayerNorm_{number}/scale"] = own[f"{block}{norm}.weight"]
            found[f"{out}LayerNorm_{number}/bias"] = own[f"{block}{norm}.bias"]
        weights = np.split(own[f"{block}attn.qkv.weight"], 3)
        biases = np.split(own[f"{block}attn.qkv.bias"], 3)
        for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            found[f"{attention}{part}/kernel"] = weight.T.reshape(width, heads, -1)
            found[f"{attention}{part}/bias"] = bias.reshape(heads, -1)
        found[f"{attention}out/kernel"] = own[f"{block}attn.proj.weight"].T.reshape(
            heads, -1, width
        )
        found[f"{attention}out/bias"] = own[f"{block}attn.proj.bias"]
        for number in (0, 1):
            dense = f"{out}MlpBlock_3/Dense_{number}/"
            found[f"{dense}kernel"] = own[f"{block}mlp.fc{number + 1}.weight"].T
            found[f"{dense}bias"] = own[f"{block}mlp.fc{number + 1}.bias"]
    return found


@pytest.fixture
def arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    return published(network.state_dict())


def saved(arrays: dict[str, NDArray[Any]], folder: Path) -> Path:
    path = folder / "weights.npz"
    np.savez(path, **arrays)
    return path


def test_a_published_archive_is_loaded_whole(
    arrays: dict[str, NDArray[Any]], network: nn.Module, tmp_path: Path
) -> None:
    path = saved({**arrays, "opt/state/step": np.array(7)}, tmp_path)
    found = load_model(NAME, path, CLASSES, arguments=CUT).network.state_dict()
    for key, tensor in network.state_dict().items():
        assert found[key].equal(tensor), key


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("head/bias", lambda a: np.ones(9, "f4"), "has 9 classes, the network 5; pass --num-cla"),
        ("embedding/kernel", lambda a: a[:, :, :1], r"say the file's size: --model-kwargs img_s"),
        ("embedding/kernel", lambda a: np.ones((8, 8, 3, 12), "f4"), "shape .8, 8, 3, 12., patch"),
        (
            "Transformer/posembed_input/pos_embedding",
            lambda a: np.ones((1, 17, 12), "f4"),
            r"pos_embedding has shape \(1, 17, 12\), pos_embed of the network \(1, 5, 12\)",
        ),
        ("embedding/bias", lambda a: a.astype(np.int32), "embedding/bias is int32, not floating"),
        ("embedding/bias", lambda a: a * np.nan, "embedding/bias has values that are not finite"),
        ("embedding/bias", lambda a: a[:1], r"\(1,\) is not the shape \(12,\)"),
        ("cls", lambda a: None, "archive of another network .KeyError"),
        ("head/kernel", lambda a: a.astype(object), "damaged or not a checkpoint .ValueError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "changed",
)
def test_what_timm_would_fit_repeat_or_leave_is_refused(
    name: str, change: Any, why: str, arrays: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    changed = {**arrays, name: change(arrays[name])}
    path = saved({key: array for key, array in changed.items() if array is not None}, tmp_path)
    with pytest.raises(InputError, match=why):
        load_model(NAME, path, CLASSES, arguments=CUT)


def test_what_an_archive_has_not_is_missing(
    arrays: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    headless = {key: array for key, array in arrays.items() if not key.startswith("head")}
    with pytest.raises(InputError, match=r"head.weight is missing.*it has no classifier"):
        load_model(NAME, saved(headless, tmp_path), CLASSES, arguments=CUT)


def test_a_network_that_reads_no_arrays_says_so(
    arrays: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="timm reads none into a SwinTransformer"):
        load_model("swin_tiny_patch4_window7_224", saved(arrays, tmp_path))


def test_damaged_archives_are_refused_or_hold_finite_weights(
    arrays: dict[str, NDArray[Any]], network: nn.Module, tmp_path: Path
) -> None:
    path, wanted = saved(arrays, tmp_path), network.state_dict()
    taken, tried = 0, 500
    for what, content in byte_mutants(path.read_bytes(), seed=16, count=tried):
        path.write_bytes(content)
        try:
            found = read_for(network, path).tensors
        except InputError:
            continue
        assert found.keys() <= wanted.keys(), what
        assert all(bool(tensor.isfinite().all()) for tensor in found.values()), what
        taken += 1
    assert 0 < taken < tried
