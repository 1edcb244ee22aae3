# SPDX-License-Identifier: Apache-2.0
"""Where values come from, and how far they can be trusted."""

from __future__ import annotations

import pytest
from plain_profiles import changed, mistakes

from simulator.profile import CONFIDENCE

SOURCES = {
    "default": "assumed: nobody said",
    "memory": "doc: datasheet, page 3",
    "memory.sram_bytes": "measured: filled until it broke",
    "rescale": "source: requantizer.v",
}


def test_sources_name_values_or_whole_tables():
    profile = changed({"source": SOURCES})
    assert profile.source_of("memory.sram_bytes") == "measured: filled until it broke"
    assert profile.source_of("memory.dram_bytes_per_cycle") == "doc: datasheet, page 3"
    assert profile.source_of("rescale.rounding") == "source: requantizer.v"
    assert profile.source_of("weight.bits") == "assumed: nobody said"


def test_the_first_word_says_how_far_a_value_can_be_trusted():
    profile = changed({"source": SOURCES})
    paths = ("memory.sram_bytes", "rescale.rounding", "memory.dram_bytes_per_cycle", "weight.bits")
    assert tuple(map(profile.confidence_of, paths)) == CONFIDENCE
    assert changed({"source": {"default": "assumed"}}).confidence_of("weight.bits") == "assumed"


@pytest.mark.parametrize(
    "text", ["datasheet", "Measured: by us", "measured by us", "", "sources: x"]
)
def test_another_first_word_is_refused(text):
    assert mistakes({"source": {"default": text}}) == [
        f"source.default = {text!r}: must begin with one of measured, source, doc, assumed"
    ]
    assert mistakes({"source": {**SOURCES, "memory": text}})[0].startswith("source.memory = ")


def test_sources_of_nothing_are_refused():
    default = {"default": "assumed"}
    assert mistakes({"source": {**default, "memory.latency": "doc: x", "clok": "doc: y"}}) == [
        "source: no such value: clok, memory.latency"
    ]
    assert mistakes({"source": {**default, "memory.sram": "doc: x"}}) == [
        "source: no such value: memory.sram"
    ]


def test_a_default_source_is_needed():
    assert mistakes({"source": {"memory": "doc: x"}}) == [
        "source.default: missing; say where unlisted values come from"
    ]


def test_sources_count_for_the_profile_s_identity():
    assert changed({"source": SOURCES}).sha256() != changed({}).sha256()
