# SPDX-License-Identifier: Apache-2.0
"""Networks of timm without their weights, lowered for an Ethos-U."""

from __future__ import annotations

from functools import cache

from vela_settings import PROFILES

from aocq.jobs.captured import captured_network
from aocq.jobs.request import ModelRequest
from aocq.jobs.without_weights import lowered_without_weights
from aocq.progress import note, silent
from aocq.recipes.recipe import Recipe
from simulator.graph import IntGraph
from simulator.profile import load_profile


@cache
def _lowered(network: str, profile: str) -> IntGraph:
    captured = captured_network(ModelRequest(name=network), silent, note)
    return lowered_without_weights(captured, Recipe(), load_profile(profile)).graph


def graph_for(network: str, accelerator: str) -> IntGraph:
    """Return a network's integer graph on the accelerator's profile, made once.

    Accelerators with the same arithmetic share it: cycles are a matter of the setting.
    """
    kind = "ethos-u85-256" if "u85" in accelerator else "ethos-u55-256"
    return _lowered(network, PROFILES[kind])
