# SPDX-License-Identifier: Apache-2.0
"""Networks of timm with random weights, lowered for an Ethos-U."""

from __future__ import annotations

from functools import cache

from vela_settings import PROFILES

from aocq.capture import FloatGraph, capture
from aocq.jobs.without_weights import estimate_without_weights
from aocq.recipes.recipe import Recipe
from aocq.zoo.models import LoadedModel, random_model
from simulator.graph import IntGraph
from simulator.profile import load_profile


@cache
def _captured(network: str) -> tuple[LoadedModel, FloatGraph]:
    model = random_model(network, None)
    return model, capture(model.network, network, model.input_size)


@cache
def _lowered(network: str, profile: str) -> IntGraph:
    model, graph = _captured(network)
    return estimate_without_weights(model, graph, Recipe(), load_profile(profile)).graph


def graph_for(network: str, accelerator: str) -> IntGraph:
    """Return a network's integer graph on the accelerator's profile, made once.

    Accelerators with the same arithmetic share it: cycles are a matter of the setting.
    """
    kind = "ethos-u85-256" if "u85" in accelerator else "ethos-u55-256"
    return _lowered(network, PROFILES[kind])
