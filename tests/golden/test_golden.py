# SPDX-License-Identifier: Apache-2.0
"""No change alters a graph or a logit silently: hashes on record, by profile and network."""

from __future__ import annotations

import pytest
from networks import cases, fingerprint
from record import recorded

CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize("name", CASES)
def test_graph_and_logits_are_those_on_record(name: str) -> None:
    assert dict(fingerprint(CASES[name])) == recorded().get(name)


def test_the_record_has_every_case_and_no_other() -> None:
    assert set(recorded()) == set(CASES)
