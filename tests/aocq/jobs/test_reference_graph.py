# SPDX-License-Identifier: Apache-2.0
"""The float network in a quantized model's form: rotated as that, and refused where it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import images, input_size
from tiny_quantized import TINY, tiny, tiny_graph

from aocq.capture import run
from aocq.jobs.reference_graph import in_form_of, takes_images
from aocq.recipes.aocq_options import AocqOptions
from aocq.transforms.stream import rotate_stream
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
    pixels = images(2, input_size(TINY))
    feeds = {"image": pixels} if found.input.name == "image" else {found.input.name: pixels}
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
