# SPDX-License-Identifier: Apache-2.0
"""No change alters a graph or a logit silently: hashes on record, by profile and network."""

from __future__ import annotations

import pytest
from networks import DEMO, cases, fingerprint
from record import recorded

CASES = {case.name: case for case in cases()}
# What one network's graph and scales are found with is found once.
ONE_WORKER = pytest.mark.xdist_group("golden")
# `make test` has every profile, on the demo network, and every family, on one profile.
OTHERS = {
    name for name, case in CASES.items() if case.network != DEMO and case.profile != "edge_npu_int8"
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.networks, ONE_WORKER] if name in OTHERS else [])
        for name in CASES
    ],
)
def test_graph_and_logits_are_those_on_record(name: str) -> None:
    assert dict(fingerprint(CASES[name])) == recorded().get(name)


def test_the_record_has_every_case_and_no_other() -> None:
    assert set(recorded()) == set(CASES)
