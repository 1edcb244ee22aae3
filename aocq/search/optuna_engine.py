# SPDX-License-Identifier: Apache-2.0
"""Search by Optuna: tree-structured Parzen estimators under constraints, in a journal of trials.

A trial is a width for every place. Designs whose estimated costs are above the budget are told to
the sampler as such and are not emulated. Every trial's sampler has a seed of its own, so that a
search that was interrupted goes on as it would have.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from aocq.search.budget import Budget
from aocq.search.greedy_search import Emulated, Proposal, measured
from aocq.search.noise_model import Scores, decibel_of, fitted
from aocq.search.places import Place, Widths
from aocq.search.plan import StepCosts, check_affordable, plan, spread
from aocq.search.scored_run import ScoredRun
from simulator.errors import EnvironmentProblem

REASON = "optuna"
# Designs above the budget in a row, after which there is little hope for one within.
MOST_ABOVE_BUDGET = 500


def check_optuna() -> None:
    """Check that Optuna is installed.

    Raises
    ------
    EnvironmentProblem
        If it is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise EnvironmentProblem(
            "--engine optuna: the package optuna is not installed; pip install 'aocq[search]', or "
            "choose --engine greedy"
        ) from error


def optuna_proposals(
    scores: Scores,
    costs: StepCosts,
    budget: Budget,
    known: Callable[[], list[Emulated]],
    *,
    evaluations: int,
    along: int,
    journal: Path,
    name: str,
    seed: int,
) -> Iterator[Proposal]:
    """Yield designs to emulate; see :func:`aocq.search.greedy_search.proposals`.

    Parameters
    ----------
    along
        how many of the first designs lie along the greedy plan
    journal
        file of trials, which a later call goes on with
    name
        of the study in it: a digest of all that the trials depend on

    Raises
    ------
    InputError
        If the lowest widths are above the budget.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    check_affordable(costs, budget)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    places = list(costs.start)
    noise = fitted(scores, measured(known()))
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        load_if_exists=True,
    )
    if not study.trials:
        for widths in spread(plan(noise, costs, budget), along, noise, costs.start):
            study.enqueue_trial({place.name: bits for place, bits in widths.items()})
    number, yielded, above = 0, 0, 0
    while yielded < evaluations and above < MOST_ABOVE_BUDGET:
        before = {trial.number: trial for trial in study.trials}.get(number)
        number += 1
        if before is not None and before.state in {TrialState.COMPLETE, TrialState.PRUNED}:
            if before.state is TrialState.PRUNED:
                above += 1
                continue
            widths = _widths(places, before.params)
            yielded, above = yielded + 1, 0
            yield Proposal(widths=widths, reason=REASON, noise=noise.noise(widths))
            continue
        study.sampler = optuna.samplers.TPESampler(
            seed=(seed + number) % (1 << 32),
            multivariate=True,
        )
        if before is not None and before.state is TrialState.RUNNING:
            # Of an interrupted search; `ask` would leave it and begin another, by another seed.
            trial = optuna.trial.Trial(study, before._trial_id)
        else:
            trial = study.ask()
        widths = {
            place: trial.suggest_categorical(place.name, list(place.widths)) for place in places
        }
        estimated = costs.of(widths)
        excess = {axis: estimated.of(axis) / most - 1 for axis, most in budget.items()}
        for axis in excess.keys() - trial.constraints.keys():
            trial.set_constraint(axis, excess[axis])
        if max(excess.values()) > 0:
            above += 1
            study.tell(trial, state=TrialState.PRUNED)
            continue
        yielded, above = yielded + 1, 0
        yield Proposal(widths=widths, reason=REASON, noise=noise.noise(widths))
        found = next(each for each in known() if each.widths == widths)
        study.tell(trial, -decibel_of(max(found.noise, 1e-12)))


def study_name(scored: ScoredRun, budget: Budget, along: int, seed: int) -> str:
    """Return a digest of all that trials depend on: scores, costs, budget, and where they begin."""
    plain = [
        sorted(
            (place.name, bits, share) for (place, bits), share in scored.scores.shares().items()
        ),
        scored.costs.costs.plain(),
        sorted(budget.items()),
        [along, seed],
    ]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def _widths(places: list[Place], params: dict[str, int]) -> Widths:
    return {place: params[place.name] for place in places}
