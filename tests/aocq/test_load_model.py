# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what fits is loaded, what does not is named, and no code in them is ever run."""

from __future__ import annotations

import hashlib
import pickle
import random
import re
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from aocq.checkpoint import read
from aocq.demo.model import WEIGHTS_FILE
from aocq.zoo.models import load_model
from simulator.errors import InputError

NAME = "vit_nano_digits"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return load_file(str(resources.files("aocq.demo") / WEIGHTS_FILE))


@pytest.fixture
def checkpoint(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    return path


def refusal(path: Path, classes: int | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_model(NAME, path, classes)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert str(path) in message
    return message


def test_a_safetensors_checkpoint_is_loaded(checkpoint: Path, state: dict[str, Tensor]) -> None:
    loaded = load_model(NAME, checkpoint)
    assert (loaded.name, loaded.classes, loaded.input_size) == (NAME, 10, (3, 8, 8))
    assert loaded.parameters == 102_730
    assert loaded.checkpoint_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert not loaded.network.training
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    for name, value in loaded.network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[name].float())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize(
    "nest",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3, "args": None},
        lambda state: {"state_dict": state, "optimizer": {"step": 1}},
        lambda state: {"model_ema": state},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"model": {"state_dict": state}},
    ],
    ids=["plain", "model", "state_dict", "model_ema", "data_parallel", "twice"],
)
def test_a_pickled_checkpoint_is_found_however_it_is_nested(
    nest: Any, suffix: str, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(nest(state), path)
    network = load_model(NAME, path).network
    assert torch.equal(network.state_dict()["head.weight"], state["head.weight"].float())


def test_the_bundled_weights_need_no_network_and_have_an_identity(checkpoint: Path) -> None:
    bundled, again = load_model(NAME), load_model(NAME)
    assert bundled.checkpoint_sha256 == again.checkpoint_sha256
    given = load_model(NAME, checkpoint)
    for name, value in given.network.state_dict().items():
        assert torch.equal(value, bundled.network.state_dict()[name])


class Intruder:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.target, "I was here"))


@pytest.mark.parametrize("form", ["zip", "legacy", "bare_pickle"])
def test_code_in_a_checkpoint_is_never_run(
    form: str, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    target, path = tmp_path / "intruder.txt", tmp_path / "weights.pth"
    content = {"model": dict(state), "extra": Intruder(target)}
    if form == "bare_pickle":
        path.write_bytes(pickle.dumps(Intruder(target), protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    message = refusal(path)
    assert not target.exists()
    assert "code in checkpoints is never run; save its state_dict() as .safetensors" in message
    with path.open("rb") as file:  # the trap is a working one
        if form == "bare_pickle":
            pickle.load(file)
        else:
            torch.load(file, weights_only=False)
    assert target.exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    assert "holds more than tensors" in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no such file; --weights wants" in refusal(tmp_path / "no.safetensors")
    assert "no such file" in refusal(tmp_path), "a folder is none either"


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"hello", b'{"a": 1}', b"PK\x03\x04"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_that_is_no_checkpoint_is_refused(
    suffix: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    assert refusal(path)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_a_truncated_checkpoint_is_refused(
    form: str, share: float, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "damaged or not a checkpoint" in refusal(path)


def test_one_changed_bit_of_an_archive_is_told_by_its_checksum(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[content.index(state["head.weight"].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    told = r"damaged \(checksum of weights/data/\d+\); fetch it again"
    assert re.search(told, refusal(path))


def test_an_archive_without_checksums_is_told(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pth"
    torch.serialization.set_crc32_options(compute_crc32=False)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(compute_crc32=True)  # torch's default
    assert "was written without checksums" in refusal(path)


def test_whatever_damage_a_pickled_checkpoint_has_it_is_an_input_error(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.pth"
    whole = []
    for zipped in (True, False):
        torch.save(
            {name: value[:1] for name, value in state.items()},
            path,
            _use_new_zipfile_serialization=zipped,
        )
        whole.append(path.read_bytes())
    chance = random.Random(0)
    refused = 0
    for _ in range(300):
        content = bytearray(chance.choice(whole))
        match chance.randrange(3):
            case 0:
                content = bytearray(chance.randbytes(chance.randrange(1, 300)))
            case 1:
                del content[chance.randrange(len(content)) :]
            case _:
                for _ in range(6):
                    content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damage in a type's name may be a deprecated type
            try:
                read(path)
            except InputError:
                refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(2)], torch.zeros(2), {"a": 1}, {0: torch.zeros(2)}, {"model": {"a": "b"}}, 7],
    ids=["list", "tensor", "number", "numbered", "text", "alone"],
)
def test_a_checkpoint_that_names_no_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert "does not hold tensors by name; save the model's state_dict()" in refusal(path)


def test_a_checkpoint_of_another_model_is_refused_with_what_differs(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.safetensors"
    other = {**state, "stranger": torch.zeros(1), "pos_embed": torch.zeros(1, 5, 64)}
    del other["norm.weight"]
    save_file(other, path)
    message = refusal(path)
    assert f"is not a checkpoint of {NAME}: " in message
    assert "norm.weight is missing" in message
    assert "stranger is not part of the model" in message
    assert "pos_embed has shape (1, 5, 64), the model wants (1, 17, 64)" in message


def test_another_depth_is_answered_with_the_networks_own_argument(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.safetensors"
    last = max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    fewer = {key: value for key, value in state.items() if not key.startswith(f"blocks.{last}.")}
    save_file(fewer, path)
    assert f"; pass --model-kwargs depth={last}" in refusal(path)
    save_file({**fewer, "norm.weight": torch.ones(3)}, path)
    assert "--model-kwargs img_size=… depth=…;" in refusal(path)


def test_a_tensor_of_no_part_of_the_network_is_to_be_removed(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({**state, "criterion.weight": torch.ones(10)}, path)
    message = refusal(path)
    assert "all else is there: remove criterion.weight from the state_dict()" in message
    assert "depth" not in message


def test_many_tensors_of_integers_are_told_once(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({key: value.to(torch.int8) for key, value in state.items()}, path)
    message = refusal(path)
    assert f" and {len(state) - 1} more are int8, as of a quantized or coded network" in message
    assert message.count("int8") == 1


def test_many_differences_are_counted_not_listed(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({f"layer.{i}": torch.zeros(1) for i in range(50)}, path)
    message = refusal(path)
    assert "; and " in message
    assert " more; where the network differs" in message
    assert len(message) < 600


def test_a_scalar_where_a_matrix_belongs_is_a_difference(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({**state, "head.weight": torch.tensor(1.0)}, path)
    assert "head.weight has shape (), the model wants (10, 64)" in refusal(path)


def test_another_class_count_is_answered_with_the_option(
    checkpoint: Path, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "seven.safetensors"
    save_file(
        {**state, "head.weight": torch.ones(7, 64), "head.bias": torch.ones(7)},
        path,
    )
    assert f"head.weight has 7 classes, {NAME} has 10; pass --num-classes 7" in refusal(path)
    assert load_model(NAME, path, 7).classes == 7
    assert "pass --num-classes 10" in refusal(checkpoint, classes=7)


def test_pretrained_weights_of_another_class_count_are_not_half_used() -> None:
    """timm would keep the trunk and give the classifier random weights."""
    with pytest.raises(InputError, match="pretrained weights have 10 classes, not 3"):
        load_model(NAME, classes=3)
    assert load_model(NAME, classes=10).classes == 10


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named_and_counted(
    value: float, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "weights.safetensors"
    broken = state["blocks.1.mlp.fc1.weight"].clone()
    broken[3, :2] = value
    save_file({**state, "blocks.1.mlp.fc1.weight": broken}, path)
    assert "blocks.1.mlp.fc1.weight has 2 values that are not finite" in refusal(path)
    broken[3, 1] = 0
    save_file({**state, "blocks.1.mlp.fc1.weight": broken}, path)
    assert "blocks.1.mlp.fc1.weight has 1 value that is not finite" in refusal(path)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("deit_tiny_patch16_225", "deit_tiny_patch16_224"),
        ("vit_nano_digit", "vit_nano_digits"),
        ("vit_tiny_patch16_24.augreg_in21k", "vit_tiny_patch16_224"),
    ],
)
def test_an_unknown_model_is_answered_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(InputError, match=rf"^model {name}: timm .* nearest: .*\b{near}\b"):
        load_model(name)


def test_a_model_that_resembles_none_is_answered_with_the_list() -> None:
    with pytest.raises(InputError, match="has no such model; `aocq models` lists them"):
        load_model("zzzzzzzz")


@pytest.mark.parametrize("with_file", [False, True])
def test_an_unknown_weight_tag_is_answered_with_the_known_ones(
    with_file: bool, checkpoint: Path
) -> None:
    with pytest.raises(InputError, match=r"nonsense.*vit_tiny_patch16_224\.augreg_in21k\b"):
        load_model("vit_tiny_patch16_224.nonsense", checkpoint if with_file else None)
