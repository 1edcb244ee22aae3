# SPDX-License-Identifier: Apache-2.0
"""The float network in a quantized model's form: rotated as that, and refused where it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import images, input_size
from tiny_quantized import TINY, tiny, tiny_graph

from aocq import progress
from aocq.capture import capture, run
from aocq.data.image_folder import listing_sha256, read_image_folder
from aocq.jobs.calibration import prepared
from aocq.jobs.reference_graph import in_form_of, statistics_images_of, takes_images
from aocq.jobs.request import CalibrationRequest
from aocq.methods.quantized_model import Sources
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ANY_CHIP
from aocq.recipes.recipe import Recipe
from aocq.transforms.stream import rotate_stream
from aocq.zoo.models import LoadedModel, load_model
from simulator.errors import InputError


def asked(model, **options):
    """The model, as if it had been quantized with other options."""
    recipe = replace(model.recipe, aocq=AocqOptions(**options))
    return replace(model, method="aocq", recipe=recipe)


def test_a_method_without_other_forms_takes_the_network_as_it_is():
    assert not takes_images(tiny())
    assert in_form_of(tiny(), tiny_graph(), None) is tiny_graph()


def test_a_rotated_model_is_compared_with_the_rotated_network():
    rotated = rotate_stream(tiny_graph())
    model = replace(asked(tiny(), rotate_stream="always"), graph=rotated)
    found = in_form_of(model, tiny_graph(), None)
    feeds = {"image": images(2, input_size(TINY))}
    name = "blocks.0.add_1"
    values = run(found, feeds, [name])[name]
    torch.testing.assert_close(values, run(rotated, feeds, [name])[name])
    assert not torch.allclose(values, run(tiny_graph(), feeds, [name])[name], atol=0.1)


def test_a_form_that_is_not_the_models_is_refused():
    model = asked(tiny(), rotate_stream="always")  # whose graph is not rotated
    with pytest.raises(InputError, match="is not in the form of the quantized model"):
        in_form_of(model, tiny_graph(), None)


def test_a_form_that_rests_on_images_asks_for_them():
    model = asked(tiny(), hadamard="all", balance_inputs=True)
    assert takes_images(model)
    with pytest.raises(InputError, match="name the run's folder of them with --calib-data"):
        in_form_of(model, tiny_graph(), None)


APPROXIMATE = replace(ANY_CHIP, approximate_probabilities=True)
COUNT = 40  # more than the form of a network rests on


@pytest.fixture(scope="module")
def nano() -> LoadedModel:
    return load_model("vit_nano_digits")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images, the second of which is damaged."""
    levels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
    (tmp_path / "images" / "0").mkdir(parents=True)
    for number, pixels in enumerate(levels):
        Image.fromarray(pixels).save(tmp_path / "images" / "0" / f"{number:02}.png")
    damaged = tmp_path / "images" / "0" / "01.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    return tmp_path / "images"


def made_on(folder: Path, nano: LoadedModel, *, known: bool = True):
    """A captured network, and a model whose form rests on the images of a folder."""
    files = read_image_folder(folder, nano.classes)
    graph = capture(nano.network, nano.name, nano.input_size)
    request = CalibrationRequest(
        method="aocq", recipe=Recipe(), folder=folder, images=COUNT, skip_bad_images=True
    )
    sources = Sources(
        checkpoint_sha256=nano.checkpoint_sha256,
        calibration_sha256=listing_sha256(folder, files),
    )
    model = replace(
        tiny(),
        graph=prepared(request, APPROXIMATE, graph, nano, files, progress.silent),
        method="aocq",
        recipe=request.recipe,
        limits=APPROXIMATE,
        calibration_images=COUNT - 1,
        log=({"skipped": str(files[1].path)},),
        sources=sources if known else None,
    )
    return graph, model


def statistics(model, folder: Path, nano: LoadedModel):
    listed = read_image_folder(folder, nano.classes)
    return statistics_images_of(model, folder, listed, nano.preprocessing)


def test_the_form_rests_on_the_same_images_as_when_the_model_was_made(
    folder: Path, nano: LoadedModel
):
    graph, model = made_on(folder, nano)
    found = in_form_of(model, graph, statistics(model, folder, nano))
    bias = "blocks.0.attn.qkv.bias"
    assert not torch.equal(model.graph.parameters[bias], graph.parameters[bias])
    for name, value in model.graph.parameters.items():
        assert torch.equal(found.parameters[name], value), name


def test_other_calibration_images_are_refused(folder: Path, nano: LoadedModel):
    """Biases alone rest on them: no normalization would tell."""
    _, model = made_on(folder, nano)
    image = folder / "0" / "02.png"
    Image.new("RGB", (8, 8)).save(image)
    with pytest.raises(InputError, match="are not those that vit_nano_digits was calibrated on"):
        statistics(model, folder, nano)


def test_calibration_images_of_an_older_model_are_noted(folder: Path, nano: LoadedModel, capsys):
    _, model = made_on(folder, nano, known=False)
    assert len(statistics(model, folder, nano)) == 31
    assert f"those in {folder} are taken for them, unchecked" in capsys.readouterr().err


def test_a_calibration_image_damaged_since_is_told(folder: Path, nano: LoadedModel):
    _, model = made_on(folder, nano)
    with pytest.raises(InputError, match=r"01\.png: cannot be decoded .*; replace or remove it"):
        statistics(replace(model, log=(), calibration_images=COUNT), folder, nano)
