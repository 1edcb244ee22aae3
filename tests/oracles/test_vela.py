# SPDX-License-Identifier: Apache-2.0
"""Our estimates of Ethos-U beside those of its compiler Vela: the bands of ``docs/cost.md``."""

from __future__ import annotations

from typing import Any

import pytest
import vela_comparison
from presence import need
from vela_comparison import Comparison, class_of, our_cycles, out_of_order, recorded_cycles, table
from vela_graphs import graph_for
from vela_network import network_file
from vela_oracle import CLASSES, VelaError, VelaSetting, by_class, vela_rows
from vela_settings import profile_of

from simulator.profile import NpuProfile

RECORDED = recorded_cycles()
TINY = "deit_tiny_patch16_224"
OF_TINY = [setting for network, setting in RECORDED if network == TINY]
# Weights are random, and how well they are compressed is seen in layers alone.
EQUAL = ("batch_matmul", "softmax", "layout")
LAYERS_APART = 0.02


def compared(setting: VelaSetting, network: str = TINY) -> Comparison:
    graph = graph_for(network, setting.accelerator)
    return Comparison(
        network=network,
        setting=setting,
        ours=our_cycles(graph, setting),
        vela=RECORDED[network, setting],
    )


def test_eight_settings_or_more_are_recorded():
    assert len(OF_TINY) >= 8
    assert all(all(RECORDED[TINY, setting].values()) for setting in OF_TINY)


@pytest.mark.parametrize(("network", "setting"), list(RECORDED), ids=str)
def test_every_weighty_class_and_the_total_lie_in_their_bands(network, setting):
    assert compared(setting, network).failures() == []


def test_chips_and_memory_modes_have_vela_s_order():
    assert out_of_order([compared(setting) for setting in OF_TINY]) == []


def in_any_order(compute: Any) -> Any:
    return {"engine": compute.engine.model_copy(update={"rectangle": None})}


def in_common_forms(_: Any) -> Any:
    return {"passes": None}


def transposed_at_once(compute: Any) -> Any:
    return {"passes": compute.passes.model_copy(update={"transpose": None})}


@pytest.mark.parametrize("change", [in_any_order, in_common_forms, transposed_at_once])
def test_another_chip_is_noticed(change, monkeypatch):
    """Rows without a picture, ops in one pass each, Transposes in one: none is the chip."""

    def other(setting: VelaSetting) -> NpuProfile:
        profile = profile_of(setting)
        compute = profile.compute.model_copy(update=change(profile.compute))
        return profile.model_copy(update={"compute": compute})

    monkeypatch.setattr(vela_comparison, "profile_of", other)
    assert any(compared(setting).failures() for setting in OF_TINY)


def test_every_op_has_a_class():
    graph = graph_for(TINY, "ethos-u55-256")
    assert {class_of(graph, op) for op in graph.ops} == set(CLASSES)


def test_the_table_names_networks_and_settings():
    lines = table([compared(OF_TINY[0])])
    assert len(lines) == 3
    assert f"| {TINY} | {OF_TINY[0]} | " in lines[2]


@pytest.mark.parametrize("setting", OF_TINY[:1] + OF_TINY[-1:], ids=str)
def test_vela_still_gives_what_is_recorded(setting):
    need("vela")
    found = by_class(vela_rows(network_file(graph_for(TINY, setting.accelerator)), setting))
    recorded = RECORDED[TINY, setting]
    assert {name: found[name].op_cycles for name in EQUAL} == {
        name: recorded[name] for name in EQUAL
    }
    layers = found["fully_connected"].op_cycles
    assert abs(layers - recorded["fully_connected"]) < LAYERS_APART * layers


def test_what_vela_refuses_is_told():
    need("vela")
    setting = VelaSetting(
        accelerator="ethos-u55-256", system_config="no such", memory_mode="Sram_Only"
    )
    with pytest.raises(VelaError, match="no such"):
        vela_rows(network_file(graph_for(TINY, setting.accelerator)), setting)
