# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as families have them: what timm converts is loaded, what does not fit is explained.

Networks are timm's, cut to a few thousand weights.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import with_random_parameters
from torch import Tensor

from aocq.zoo.models import LoadedModel, load_model, timm
from simulator.errors import InputError

CLASSES = 7
VIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2}
SWIN: dict[str, Any] = {
    **{"img_size": 32, "patch_size": 2, "embed_dim": 12, "window_size": 4},
    **{"depths": (2, 2), "num_heads": (2, 2)},
}
# By model: arguments that cut it.
CUT: Mapping[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": VIT,
    "vit_small_patch14_dinov2": {**VIT, "num_heads": 3},
    "vit_small_patch14_reg4_dinov2": {**VIT, "num_heads": 3},
    "deit_tiny_distilled_patch16_224": VIT,
    "deit3_small_patch16_224": {**VIT, "num_heads": 3},
    "swin_tiny_patch4_window7_224": SWIN,
    "beit_base_patch16_224": {**VIT, "num_heads": 3},
    "cait_xxs24_224": {**VIT, "num_heads": 3, "depth": 2},
    "levit_128s": {"img_size": 64},
    "vit_relpos_small_patch16_224": {**VIT, "num_heads": 3},
    "vit_srelpos_small_patch16_224": {**VIT, "num_heads": 3, "rel_pos_type": "bias"},
    "flexivit_small": {**VIT, "num_heads": 3},
}


def network_state(name: str, **more: Any) -> dict[str, Tensor]:
    built = timm.create_model(name, **{"num_classes": CLASSES, **CUT.get(name, {}), **more})
    return dict(with_random_parameters(built).state_dict())


def loaded(name: str, path: Path, classes: int | None = CLASSES, **more: Any) -> LoadedModel:
    return load_model(name, path, classes, arguments={**CUT.get(name, {}), **more})


def saved(content: Any, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path)
    return path


def equal(found: LoadedModel, wanted: Mapping[str, Tensor]) -> bool:
    state = found.network.state_dict()
    return state.keys() == wanted.keys() and all(
        torch.equal(state[key], wanted[key]) for key in wanted
    )


@pytest.mark.parametrize("name", CUT)
def test_a_network_of_each_family_is_loaded_as_timm_trains_it(name: str, tmp_path: Path) -> None:
    """A file of timm's training script: options, optimizer, EMA weights beside the last ones."""
    state = network_state(name)
    last = {f"module.{key}": torch.zeros_like(value) for key, value in state.items()}
    averaged = {f"module.{key}": value for key, value in state.items()}
    content = {
        **{"epoch": 3, "arch": name, "state_dict": last, "state_dict_ema": averaged},
        **{"optimizer": {"state": {}}, "version": 2, "metric": 71.5},
        "args": argparse.Namespace(model=name, lr=1e-3, opt_betas=None),
    }
    found = loaded(name, saved(content, tmp_path))
    assert equal(found, state)
    (said,) = found.weights_taken
    assert "taken from state_dict_ema, a moving average" in said
    assert "not from state_dict beside it" in said


def _dinov2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "mask_token": torch.zeros(1, 24)}


def _old_swin(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names and tables as in the first published checkpoints."""
    network = timm.create_model("swin_tiny_patch4_window7_224", num_classes=CLASSES, **SWIN)
    tables = dict(network.named_buffers())
    assert any(key.endswith("attn_mask") for key in tables)
    renamed = {
        key.replace("layers.1.downsample", "layers.0.downsample").replace(
            "head.fc.", "head."
        ): value
        for key, value in state.items()
    }
    return {**renamed, **tables}


def _old_deit3(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {re.sub(r"ls(\d)\.gamma", r"gamma_\1", key): value for key, value in state.items()}


def _with_tables(name: str) -> Any:
    def add(state: dict[str, Tensor]) -> dict[str, Tensor]:
        network = timm.create_model(name, num_classes=CLASSES, **CUT[name])
        tables = dict(network.named_buffers())
        indices = {key: value for key, value in tables.items() if "ind" in key or "idx" in key}
        assert indices
        return {**state, **indices}

    return add


def _without_counts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if "num_batches" not in key}


@pytest.mark.parametrize(
    ("name", "change", "left_out"),
    [
        ("swin_tiny_patch4_window7_224", _old_swin, ""),
        ("vit_small_patch14_dinov2", _dinov2, "mask_token"),
        ("deit3_small_patch16_224", _old_deit3, ""),
        ("beit_base_patch16_224", _with_tables("beit_base_patch16_224"), ""),
        ("vit_relpos_small_patch16_224", _with_tables("vit_relpos_small_patch16_224"), ""),
        ("levit_128s", _with_tables("levit_128s"), ""),
        ("levit_128s", _without_counts, ""),
    ],
)
def test_old_names_and_tables_are_converted_as_timm_does(
    name: str, change: Any, left_out: str, tmp_path: Path
) -> None:
    state = network_state(name)
    found = loaded(name, saved({"model": change(dict(state))}, tmp_path))
    assert equal(found, state)
    assert [("left out" in said, left_out in said) for said in found.weights_taken] == [
        (True, True)
    ] * bool(left_out)


def test_registers_of_dinov2_are_converted_as_timm_does(tmp_path: Path) -> None:
    name = "vit_small_patch14_reg4_dinov2"
    state = network_state(name)
    position = torch.full((1, 1, 24), 0.25)
    own = {key: value for key, value in state.items() if key not in {"reg_token", "pos_embed"}}
    own["cls_token"] = state["cls_token"] - 0.25
    own["pos_embed"] = torch.cat([position, state["pos_embed"]], dim=1)
    own |= {"register_tokens": state["reg_token"], "mask_token": torch.zeros(1, 24)}
    found = loaded(name, saved(own, tmp_path))
    kept = found.network.state_dict()
    assert torch.allclose(kept["cls_token"], state["cls_token"])
    assert torch.equal(kept["pos_embed"], state["pos_embed"])
    (said,) = found.weights_taken
    assert said == "1 tensor is left out, which timm has no use for (mask_token)"


def test_names_of_openclip_are_converted_and_the_text_tower_is_said_to_be_left_out(
    tmp_path: Path,
) -> None:
    name = "vit_tiny_patch16_224"
    state = network_state(name)
    clip = {f"visual.trunk.{key}": value for key, value in state.items()}
    text = {"text.token_embedding.weight": torch.ones(5, 4), "logit_scale": torch.tensor(1.0)}
    found = loaded(name, saved({**clip, **text}, tmp_path))
    assert equal(found, state)
    assert "2 tensors are left out, which timm has no use for (text.tok" in found.weights_taken[0]


def test_one_of_two_names_that_timm_makes_the_same_is_said_to_be_left_out(tmp_path: Path) -> None:
    name = "deit3_small_patch16_224"
    state = network_state(name)
    double = {"blocks.0.gamma_1": torch.zeros(24), **state}
    found = loaded(name, saved(double, tmp_path))
    assert equal(found, state)
    assert "left out, which timm has no use for (blocks.0.gamma_1)" in found.weights_taken[0]


def test_a_table_with_other_values_than_computed_is_refused(tmp_path: Path) -> None:
    name = "swin_tiny_patch4_window7_224"
    state = _old_swin(network_state(name))
    key = "layers.0.blocks.0.attn.relative_position_index"
    state[key] = state[key].flip(0)
    with pytest.raises(InputError, match=f"{key} has other values than those that timm computes"):
        loaded(name, saved(state, tmp_path))


def test_a_size_that_is_asked_for_is_resampled_as_timm_does_and_said(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    path = saved(network_state(name), tmp_path)
    found = load_model(name, path, CLASSES, arguments={**VIT, "img_size": 64})
    assert found.network.state_dict()["pos_embed"].shape == (1, 65, 24)
    (said,) = found.weights_taken
    assert said.startswith("pos_embed resampled from (1, 17, 24) to (1, 65, 24), as timm does")
    swin = "swin_tiny_patch4_window7_224"
    path = saved(network_state(swin), tmp_path)
    found = load_model(swin, path, CLASSES, arguments={**SWIN, "window_size": 8})
    assert "relative_position_bias_table and 3 more resampled" in found.weights_taken[0]


@pytest.mark.filterwarnings("ignore")  # torch's, about how timm resamples
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64}),
        ("vit_tiny_patch16_224", {"patch_size": 16, "img_size": 64}),
        ("flexivit_small", {"img_size": 64}),
        ("deit3_small_patch16_224", {"img_size": 48}),
        ("swin_tiny_patch4_window7_224", {"window_size": 8}),
        ("beit_base_patch16_224", {"img_size": 64}),
        ("vit_srelpos_small_patch16_224", {"img_size": 64}),
    ],
)
def test_resampled_weights_are_those_that_timm_makes(
    name: str, more: dict[str, Any], tmp_path: Path
) -> None:
    state = network_state(name)
    found = loaded(name, saved(state, tmp_path), **more)
    theirs = timm.create_model(
        *(name, True),
        pretrained_cfg_overlay={"state_dict": dict(state), "num_classes": CLASSES},
        **{"num_classes": CLASSES, **CUT[name], **more},
    )
    assert "resampled" in found.weights_taken[0]
    assert equal(found, theirs.state_dict())


def refusal(name: str, content: Any, folder: Path, arguments: Any = None, **options: Any) -> str:
    path = saved(content, folder)
    with pytest.raises(InputError) as caught:
        load_model(name, path, options.get("classes"), arguments=arguments or {})
    return str(caught.value)


def small(name: str, **options: Any) -> dict[str, Tensor]:
    """The right names and shapes in a file of a few kilobytes: values are no matter here."""
    with torch.device("meta"):
        network = timm.create_model(name, **options)
    return {key: torch.zeros(tensor.shape) for key, tensor in network.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "other", "options", "why"),
    [
        (
            "vit_tiny_patch16_224",
            "vit_tiny_patch16_224",
            {"img_size": 64, "in_chans": 1, "num_classes": 12},
            "pass --num-classes 12 --model-kwargs in_chans=1 img_size=64",
        ),
        (
            "vit_tiny_patch16_224",
            "vit_tiny_patch16_224",
            {"patch_size": 32},
            "pass --model-kwargs patch_size=32",
        ),
        (
            "vit_tiny_patch16_224",
            "vit_tiny_patch16_384",
            {},
            "is one of vit_tiny_patch16_384: pass that name, or pass --model-kwargs img_size=384",
        ),
        (
            "deit_tiny_patch16_224",
            "deit_tiny_distilled_patch16_224",
            {},
            "it is one of deit_tiny_distilled_patch16_224: pass that name",
        ),
        (
            "deit_tiny_patch16_224",
            "deit_tiny_distilled_patch16_224",
            {"num_classes": 5},
            "deit_tiny_distilled_patch16_224: pass that name and --num-classes 5",
        ),
        (
            "deit_tiny_distilled_patch16_224",
            "deit_tiny_distilled_patch16_224",
            {"num_classes": 5},
            "head.weight has 5 classes, deit_tiny_distilled_patch16_224 has 1000; pass --num-c",
        ),
        (
            "vit_tiny_patch16_224",
            "vit_tiny_patch16_224",
            {"num_classes": 0},
            "it has no classifier, only what comes before",
        ),
        (
            "deit_small_patch16_224",
            "deit_tiny_patch16_224",
            {},
            "it is one of deit_tiny_patch16_224: pass that name",
        ),
        (
            "vit_tiny_patch16_224",
            "vit_tiny_patch16_224",
            {"depth": 3},
            "pass --model-kwargs depth=3",
        ),
    ],
)
def test_the_way_out_is_one_that_was_tried(
    name: str, other: str, options: dict[str, Any], why: str, tmp_path: Path
) -> None:
    assert why in refusal(name, small(other, **options), tmp_path)


def test_windows_of_another_size_are_told(tmp_path: Path) -> None:
    cut = {"embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2)}
    state = small("swin_tiny_patch4_window7_224", **cut, img_size=384, window_size=12)
    message = refusal("swin_tiny_patch4_window7_224", state, tmp_path, cut)
    assert "pass --model-kwargs window_size=12 img_size=384" in message
    beit = {"embed_dim": 24, "depth": 1, "num_heads": 3}
    state = small("beit_base_patch16_224", **beit, img_size=64)
    message = refusal("beit_base_patch16_224", state, tmp_path, beit)
    assert message.endswith("; pass --model-kwargs img_size=64")


def test_a_size_that_nobody_asked_for_is_not_resampled(tmp_path: Path) -> None:
    state = small("vit_tiny_patch16_224", img_size=64)
    message = refusal("vit_tiny_patch16_224", state, tmp_path)
    assert "pos_embed has shape (1, 17, 192), the model wants (1, 197, 192)" in message


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (
            ["vit.embeddings.cls_token", "vit.encoder.layer.0.attention.output.dense.weight"],
            "its names are those of Hugging Face's transformers",
        ),
        (["conv_proj.weight", "encoder.layers.encoder_layer_0.ln_1.weight"], "of torchvision"),
    ],
)
def test_names_of_other_projects_are_told(names: list[str], why: str, tmp_path: Path) -> None:
    assert why in refusal("vit_tiny_patch16_224", dict.fromkeys(names, torch.ones(2)), tmp_path)


def test_a_prefix_that_is_not_known_is_told(tmp_path: Path) -> None:
    state = network_state("vit_tiny_patch16_224")
    message = refusal(
        "vit_tiny_patch16_224", {f"net.vit.{k}": v for k, v in state.items()}, tmp_path, VIT
    )
    assert "all its names begin with 'net.vit.': save it without" in message


@pytest.mark.parametrize(
    ("dtype", "what"),
    [
        (torch.int8, "is int8, as of a quantized or coded network; --weights wants a float"),
        (torch.uint8, "is uint8, as of a quantized"),
        (torch.int64, "is int64, as of"),
        (torch.bool, "is bool, as of"),
        (torch.float8_e4m3fn, "is float8_e4m3fn, as of"),
        (torch.complex64, "is complex (complex64), weights are real"),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["pickled", "safetensors"])
def test_numbers_that_are_no_floats_are_refused_by_name(
    form: str, dtype: torch.dtype, what: str, tmp_path: Path
) -> None:
    state = network_state("vit_tiny_patch16_224")
    state["blocks.0.mlp.fc1.weight"] = torch.ones(96, 24).to(dtype)
    path = tmp_path / "weights"
    if form == "pickled":
        torch.save(state, path)
    else:
        save_file(state, path)
    with pytest.raises(InputError, match=re.escape(f": blocks.0.mlp.fc1.weight {what}")):
        loaded("vit_tiny_patch16_224", path)


def test_a_network_of_grey_images_is_loaded_from_its_checkpoint(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    state = network_state(name, in_chans=1)
    grey = {"mean": (0.5,), "std": (0.5,)}
    found = load_model(
        *(name, saved(state, tmp_path), CLASSES),
        arguments={**VIT, "in_chans": 1},
        preprocessing=grey,
    )
    assert equal(found, state)
    message = refusal(name, state, tmp_path, VIT, classes=CLASSES)
    assert message.endswith("; pass --model-kwargs in_chans=1")


def test_a_forgotten_window_is_told_and_not_resampled(tmp_path: Path) -> None:
    """Images of another size leave a window as it is, unless they are smaller than it."""
    name = "swin_tiny_patch4_window7_224"
    state = network_state(name)
    forgotten = {key: value for key, value in SWIN.items() if key != "window_size"}
    message = refusal(name, state, tmp_path, forgotten, classes=CLASSES)
    assert message.endswith("; pass --model-kwargs window_size=4")
    path = saved(state, tmp_path)
    found = load_model(
        name, path, CLASSES, arguments={**forgotten, "img_size": 4, "window_size": 4}
    )
    assert "resampled from (49, 2) to (9, 2)" in found.weights_taken[0]


def test_a_forgotten_patch_size_is_told_with_the_image_that_was_asked_for(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    state = network_state(name)
    forgotten = {key: value for key, value in VIT.items() if key != "patch_size"}
    message = refusal(name, state, tmp_path, forgotten, classes=CLASSES)
    assert message.endswith("; pass --model-kwargs patch_size=8")


def test_what_siglip_without_attention_pooling_has_no_use_for_is_left_out(tmp_path: Path) -> None:
    name = "vit_base_patch16_siglip_gap_224"
    cut = {**VIT, "num_heads": 3, "num_classes": CLASSES}
    state = {
        key: torch.ones(t.shape) for key, t in timm.create_model(name, **cut).state_dict().items()
    }
    path = saved({**state, "attn_pool.latent": torch.ones(1, 1, 24)}, tmp_path)
    found = load_model(name, path, CLASSES, arguments={**VIT, "num_heads": 3})
    assert "left out, which timm has no use for (attn_pool.latent)" in found.weights_taken[0]
