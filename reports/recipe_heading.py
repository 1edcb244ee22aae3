# SPDX-License-Identifier: Apache-2.0
"""What the file of a found recipe begins with: where it comes from, what it is, how it is used."""

from __future__ import annotations

from collections.abc import Mapping

from aocq.records.design_costs import DesignCosts, budget_in_words
from aocq.records.search import CandidateRow, Quality, SearchResult, Sensitivity
from reports.format import NO_NOISE, decibel


def candidate_heading(found: SearchResult, row: CandidateRow, run: str) -> list[str]:
    """Return the lines of a search's candidate.

    Parameters
    ----------
    run
        name of the folder of the run that the search began with
    """
    measured = [f"In the search: {_measured(row.found, row.costs)}."]
    if row.confirmed is not None and row.confirmed_costs is not None:
        told = _measured(row.confirmed, row.confirmed_costs)
        measured.append(f"On images that the search did not use: {told}.")
    return [
        f"Candidate {row.number} of aocq search, from the run in folder {run}.",
        *_made_for(found.network, found.profile, found.budget),
        *measured,
        _used_by(found.network, found.profile, row.recipe),
    ]


def proposed_heading(
    found: Sensitivity,
    budget: Mapping[str, float],
    expected_db: float | None,
    costs: DesignCosts,
    run: str,
    file: str,
) -> list[str]:
    """Return the lines of the recipe that a sensitivity proposes, which nothing has measured.

    Parameters
    ----------
    expected_db, costs
        of the recipe, by scores and estimates; None: no noise
    run
        name of the folder of the run
    file
        name of the recipe's file
    """
    return [
        f"Proposed by the scores of aocq sensitivity, from the run in folder {run}.",
        *_made_for(found.network, found.profile, budget),
        f"Not measured; expected SQNR {decibel(expected_db, NO_NOISE)}, about "
        f"{costs.weight_bytes:,.0f} weight bytes.",
        f"The run's own recipe, measured: {_measured(found.start, found.costs)}.",
        _used_by(found.network, found.profile, file),
    ]


def _made_for(network: str, profile: str, budget: Mapping[str, float]) -> list[str]:
    return [
        f"Network: {network}",
        f"Profile: {profile}",
        f"Budget: {budget_in_words(budget)}",
    ]


def _measured(quality: Quality, costs: DesignCosts) -> str:
    return (
        f"SQNR {decibel(quality.sqnr_db, NO_NOISE)} on {quality.images} images, "
        f"{costs.weight_bytes:,.0f} weight bytes"
    )


def _used_by(network: str, profile: str, file: str) -> str:
    return f"Used by: aocq verify {network} … --recipe {file} --profile {profile}"
