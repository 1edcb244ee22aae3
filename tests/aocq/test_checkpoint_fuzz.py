# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile checkpoints: refused, or a network of finite weights; nothing else."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mutations import byte_mutants
from safetensors.torch import save_file
from tiny_models import network
from torch import Tensor, nn

from aocq.checkpoint import fit, read
from aocq.zoo.models import load_model, timm
from simulator.errors import AocqError, InputError

COUNT = 500
# Two blocks' worth of names in a few kilobytes.
TINY: dict[str, Any] = {
    **{"img_size": 4, "patch_size": 2, "embed_dim": 4, "depth": 1, "num_heads": 1},
    **{"num_classes": 3, "mlp_ratio": 1},
}
NAME = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    return network(base=TINY)


def content(form: str, tiny: nn.Module, folder: Path) -> bytes:
    path = folder / "whole"
    if form == "safetensors":
        save_file(tiny.state_dict(), path)
    else:
        whole = {"state_dict": tiny.state_dict(), "epoch": 3}
        torch.save(whole, path, _use_new_zipfile_serialization=form == "zip")
    return path.read_bytes()


def refusal(path: Path, tiny: nn.Module) -> str:
    """Return why a file is refused; nothing where it holds all that the network wants."""
    try:
        found = fit(read(path).tensors, tiny, NAME, {})
    except AocqError as error:
        return str(error)
    wanted = tiny.state_dict()
    for key, tensor in found.tensors.items() if not found.problems else ():
        assert (tensor.shape, tensor.dtype) == (wanted[key].shape, torch.float32)
    assert found.problems or found.tensors.keys() == wanted.keys()
    return "; ".join(found.problems)


def outcome(path: Path, tiny: nn.Module) -> bool:
    """Whether a file's weights are taken; what refuses them can be shown on any terminal."""
    message = refusal(path, tiny)
    assert not message or message.isprintable()
    return not message


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_damaged_files_are_refused_or_hold_the_network(
    form: str, tiny: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / f"weights.{form}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    whole, taken = content(form, tiny, tmp_path), 0
    for what, changed in byte_mutants(whole, seed=16, count=COUNT):
        path.write_bytes(changed)
        try:
            taken += outcome(path, tiny)
        except Exception as error:
            raise AssertionError(f"{form}: {what}: {type(error).__name__}: {error}") from error
    assert 0 < taken < COUNT
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000, "kilobytes"


def odd_tensors() -> list[Any]:
    """What a state dict may hold in place of a matrix; made anew, as reading changes nothing."""
    return [
        *(torch.tensor(1.0), torch.ones(0), torch.ones(4, 4, 4, 4, 4), torch.ones(1, 4, 4)),
        *(torch.ones(4, 4).to(kind) for kind in (torch.int8, torch.bool, torch.complex64)),
        *(torch.ones(4, 4).to(kind) for kind in (torch.float64, torch.bfloat16, torch.uint16)),
        *(torch.eye(4).to_sparse(), torch.ones(4, 4, device="meta"), torch.eye(4).to_sparse_csr()),
        *(torch.ones(1, 1).expand(4, 4), torch.ones(1).expand(2**20, 2**20), torch.ones(8, 8)[::2]),
        *(torch.full((4, 4), 1e300, dtype=torch.float64), torch.full((4, 4), float("nan"))),
        *(None, 1, 1.5, "x", [], {}, [torch.ones(4)], {"weight": torch.ones(4, 4)}, b"bytes"),
    ]


def structures(state: dict[str, Tensor], seed: int, count: int) -> Iterator[tuple[str, Any]]:
    """Yield ``count`` state dicts, each changed in one place, some of them nested in others."""
    chance = random.Random(seed)
    names = list(state)
    odd = odd_tensors()
    others = [
        *("", "x", "module.", "model", "state_dict", "model_ema", "\x1b[2J", "../x", "é" * 300),
        *("mask_token", "pos_embed", "visual.class_embedding", "encoder", "beit3.x.A.y"),
        *("register_tokens", "visual.trunk.pos_embed", "preprocessor.patchifier.proj.weight"),
        *("relative_position_bias_table", "radio_model.model.patch_generator.embedder.weight"),
    ]
    for _ in range(count):
        name, changed = chance.choice(names), dict(state)
        kind = chance.choice(("remove", "rename", "add", "replace", "double", "shape", "key"))
        value, other = chance.choice(odd), chance.choice([*others, *names])
        if kind == "remove":
            del changed[name]
        elif kind == "rename":
            changed[other] = changed.pop(name)
        elif kind == "add":
            changed[other] = value
        elif kind == "replace":
            changed[name] = value
        elif kind == "double":
            changed[chance.choice(("module.", "model.", "_orig_mod.", "y.")) + name] = state[name]
        elif kind == "shape":
            changed[name] = chance.choice((state[name].T, state[name][:1], state[name][None]))
        else:
            changed[chance.choice((0, None, ("a", 1), b"x", 1.5))] = value  # type: ignore[index]
        nested = chance.choice(("", "", "state_dict", "model", "model_ema", "ema", "encoder"))
        yield f"{kind} {name!r} {other!r} in {nested!r}", {nested: changed} if nested else changed


@pytest.mark.filterwarnings("ignore")  # torch's, of kinds of tensors and of transposing vectors
def test_odd_structures_are_refused_or_hold_the_network(tiny: nn.Module, tmp_path: Path) -> None:
    path, taken = tmp_path / "weights.pth", 0
    state = dict(tiny.state_dict())
    for what, changed in structures(state, seed=16, count=COUNT):
        torch.save(changed, path)
        try:
            taken += outcome(path, tiny)
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    assert 0 < taken < COUNT


@pytest.mark.filterwarnings("ignore")
def test_whatever_is_refused_has_a_way_out(tiny: nn.Module, tmp_path: Path) -> None:
    """The same to the end: a model by name, with advice, and with values that are not finite."""
    arguments = {key: value for key, value in TINY.items() if key != "num_classes"}
    built = timm.create_model(NAME, num_classes=3, **arguments)
    assert built.state_dict().keys() == tiny.state_dict().keys()
    path, messages = tmp_path / "weights.pth", []
    for what, changed in structures(dict(tiny.state_dict()), seed=17, count=24):
        torch.save(changed, path)
        try:
            found = load_model(NAME, path, 3, arguments=arguments).network.state_dict()
        except InputError as error:
            messages.append(str(error))
            continue
        assert all(bool(tensor.isfinite().all()) for tensor in found.values()), what
    assert 0 < len(messages) < 24
    for message in messages:
        assert message.startswith(f"{path}: ")
        assert "; " in message
        assert message.isprintable()
