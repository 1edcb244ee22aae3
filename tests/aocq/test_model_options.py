# SPDX-License-Identifier: Apache-2.0
"""Networks that differ from their timm name: what is asked for is built, recorded, or refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from tiny_models import with_random_parameters

from aocq.jobs.keys import model_meta
from aocq.zoo.models import load_model, random_model, timm
from aocq.zoo.options import channels_averaged, crop_kept, parse_settings, preprocessing
from simulator.errors import InputError

NAME = "vit_tiny_patch16_224"
SMALL: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    network = with_random_parameters(timm.create_model(NAME, num_classes=7, **SMALL))
    save_file(network.state_dict(), path)
    return path


def test_settings_are_literals_tuples_or_words() -> None:
    texts = ["img_size=32 depths=2,2,2", "act_layer=relu", "heads=(3, 6, 12)", "qkv_bias=False"]
    assert parse_settings([*texts, "mean=[0.5,0.25]"], "--model-kwargs") == {
        "img_size": 32,
        "depths": (2, 2, 2),
        "act_layer": "relu",
        "heads": (3, 6, 12),
        "qkv_bias": False,
        "mean": (0.5, 0.25),
    }
    assert parse_settings([], "--model-kwargs") == {}


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["img_size"], "--model-kwargs 'img_size': wanted KEY=VALUE"),
        (["=3"], "wanted KEY=VALUE"),
        (["a b=3"], "'a': wanted KEY=VALUE"),
        (["depth=1", "depth=2"], "depth is given twice"),
        (["drop_rate=1e999"], "holds a number that is not finite"),
        (["mean=0.5,-1e999"], "holds a number that is not finite"),
        (["a={'b':[1e999]}"], "holds a number that is not finite"),
    ],
)
def test_what_is_no_setting_is_refused(texts: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_settings(texts, "--model-kwargs")


def test_the_network_is_built_as_asked_for(checkpoint: Path) -> None:
    own = {"mean": (0.1, 0.2, 0.3), "crop_pct": 1.0}
    loaded = load_model(NAME, checkpoint, 7, arguments=SMALL, preprocessing=own)
    assert len(loaded.network.blocks) == 1  # type: ignore[arg-type]
    assert loaded.classes == 7
    assert loaded.input_size == (3, 16, 16)
    assert loaded.preprocessing["mean"] == (0.1, 0.2, 0.3)
    assert loaded.preprocessing["std"] == (0.5, 0.5, 0.5)
    assert dict(loaded.arguments) == SMALL
    assert json.loads(model_meta(loaded)["model_arguments"]) == SMALL


def test_a_network_that_is_what_its_name_says_has_no_arguments() -> None:
    assert "model_arguments" not in model_meta(load_model("vit_nano_digits"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            {**SMALL, "colour": 3},
            "colour: timm's VisionTransformer has no such argument; it has img_size, patch_size,",
        ),
        ({**SMALL, "dept": 3}, r"dept: .* has no such argument; nearest: depth"),
        ({**SMALL, "embed_dim": 25}, r"cannot build it with .*embed_dim=25"),
        ({**SMALL, "num_classes": 7}, "--model-kwargs num_classes: pass --num-classes instead"),
        ({**SMALL, "pretrained_cfg": {}}, "pass --preprocessing instead"),
        (
            {**SMALL, "depth": 2},
            "is not a checkpoint of vit_tiny_patch16_224 with img_size=16 patch_size=8 "
            r"embed_dim=24 depth=2: .*; pass --model-kwargs depth=1$",
        ),
        ({}, r"is not a checkpoint of vit_tiny_patch16_224: .*say how: --model-kwargs"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(
    arguments: dict[str, Any], why: str, checkpoint: Path
) -> None:
    with pytest.raises(InputError, match=why):
        load_model(NAME, checkpoint, 7, arguments=arguments)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("colour", 3, "colour: unknown; choose one of input_size"),
        ("mean", 0.5, "mean=0.5: wanted one number for each channel"),
        ("mean", (0.5, 0.5), "mean=0.5,0.5: wanted one number for each channel"),
        ("mean", (123.7, 116.3, 103.5), r"wanted .* of pixels on 0\.\.1 \(not 0\.\.255\)"),
        ("mean", (0.5, float("inf"), 0.5), "mean=0.5,inf,0.5: wanted"),
        ("std", (0.5, 0.0, 0.5), "wanted .*; above 0 and at most 1"),
        ("std", (58.4, 57.1, 57.4), r"std=58\.4,57\.1,57\.4: wanted .* \(not 0\.\.255\)"),
        ("crop_pct", 1.5, "crop_pct=1.5: wanted a number above 0 and at most 1"),
        ("crop_pct", True, "crop_pct=True: wanted a number"),
        ("crop_mode", 3, "crop_mode=3: wanted center or squash or border"),
        ("crop_mode", "foo", "crop_mode=foo: wanted center"),
        ("interpolation", "foo", "interpolation=foo: wanted nearest or "),
        ("input_size", (3, 32), "input_size=3,32: wanted channels, height and width"),
        ("input_size", (3, 32.0, 32), r"input_size=3,32\.0,32: wanted channels"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused(key: str, value: Any, why: str) -> None:
    with pytest.raises(InputError, match=f"^model m: --preprocessing .*{why}"):
        preprocessing("m", USUAL, {}, {key: value})


USUAL = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "crop_pct": 0.9,
    "crop_mode": "center",
}


def test_images_have_the_size_of_the_constructor_unless_said_otherwise() -> None:
    assert preprocessing("m", USUAL, {"img_size": (8, 12)}, {})["input_size"] == (3, 8, 12)
    wanted = {"input_size": (3, 9, 9)}
    assert preprocessing("m", USUAL, {"img_size": 8}, wanted)["input_size"] == (3, 9, 9)
    assert USUAL["input_size"] == (3, 224, 224)


def test_images_of_another_number_of_channels() -> None:
    one = {"mean": (0.5,), "std": (0.5,)}
    found = preprocessing(NAME, USUAL, {}, {**one, "input_size": (1, 28, 28)})
    assert (found["input_size"], found["mean"]) == ((1, 28, 28), (0.5,))
    found = preprocessing(NAME, USUAL, {"in_chans": 1, "img_size": 28}, one)
    assert found["input_size"] == (1, 28, 28)


def test_one_channel_has_the_average_of_timms_three() -> None:
    imagenet = {**USUAL, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    found = preprocessing(NAME, imagenet, {"in_chans": 1}, {})
    resolved = timm.data.model_config.resolve_input_data_config(
        timm.create_model(NAME, in_chans=1, img_size=16, depth=0),
        pretrained_cfg=dict(imagenet),
        args={"img_size": 16},
    )
    assert found["mean"] == resolved["mean"] == (sum(imagenet["mean"]) / 3,)
    assert found["std"] == resolved["std"] == (sum(imagenet["std"]) / 3,)
    found = preprocessing(NAME, imagenet, {"in_chans": 1}, {"mean": 0.1307})
    assert (found["mean"], found["std"]) == ((0.1307,), resolved["std"])


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, "mean 0.5 and std 0.5, the average of timm's channels; .*mean=… std=…"),
        ({"mean": (0.1,)}, "read as gray, with std 0.5, .*--preprocessing std=…$"),
        ({"mean": (0.1,), "std": (0.2,)}, None),
    ],
)
def test_averages_are_told(wanted: dict[str, Any], told: str | None) -> None:
    found = preprocessing("m", USUAL, {"in_chans": 1}, wanted)
    sentence = channels_averaged("m", wanted, found)
    assert sentence == "" if told is None else re.search(told, sentence)
    assert channels_averaged("m", wanted, preprocessing("m", USUAL, {}, {})) == ""


@pytest.mark.parametrize("channels", [0, 2, 4, True, 1.0, "one"])
def test_images_have_one_channel_or_three(channels: Any) -> None:
    arguments = {**SMALL, "in_chans": channels}
    with pytest.raises(InputError, match=f"--model-kwargs in_chans={channels}: images have 1 ch"):
        random_model(NAME, arguments=arguments)
    if not isinstance(channels, str):
        with pytest.raises(InputError, match=r"images have 1 channel \(gray\) or 3"):
            preprocessing("m", USUAL, {}, {"input_size": (channels, 8, 8)})


@pytest.mark.parametrize(
    ("arguments", "wanted", "scaled"),
    [
        ({"img_size": 32}, {}, "35 x 35"),
        ({"img_size": (32, 64)}, {}, "35 x 71"),
        ({}, {"input_size": (3, 45, 45)}, "50 x 50"),
        ({}, {}, None),  # timm's own size: its own crop
        ({"img_size": 32}, {"crop_pct": 0.9}, None),  # asked for
        ({"img_size": 32}, {"crop_pct": 1}, None),
    ],
)
def test_a_crop_that_cuts_small_images_is_told(
    arguments: dict[str, Any], wanted: dict[str, Any], scaled: str | None
) -> None:
    found = preprocessing("m", USUAL, arguments, wanted)
    told = crop_kept("m", arguments, wanted, found)
    if scaled is None:
        assert told == ""
    else:
        height, width = found["input_size"][1:]
        assert f"images are fitted to {scaled} pixels, of which the network sees " in told
        assert f"sees {height} x {width}; " in told
        assert "pass --preprocessing crop_pct=1" in told


def test_arguments_are_found_behind_those_that_are_handed_on() -> None:
    with pytest.raises(InputError, match=r"LevitDistilled has no such argument; it has img_size,"):
        random_model("levit_128s", arguments={"colour": 3})
    with pytest.raises(InputError, match=r"--model-kwargs img_sise: .*; nearest: img_size"):
        random_model("naflexvit_base_patch16_gap", arguments={"img_sise": 3})


@pytest.mark.parametrize("arguments", [{"num_heads": 0}, {"patch_size": 0}])
def test_what_cannot_be_built_is_told_from_weights_that_cannot_be_fetched(
    arguments: dict[str, Any],
) -> None:
    with pytest.raises(InputError, match="cannot build it with"):
        load_model(NAME, arguments=arguments)
