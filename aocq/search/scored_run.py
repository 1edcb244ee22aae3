# SPDX-License-Identifier: Apache-2.0
"""A run with the scores and the costs of all steps from it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from aocq.data.image_folder import evenly
from aocq.data.loader import load_calibration_images
from aocq.jobs.captured import captured_network
from aocq.jobs.keys import request_key
from aocq.jobs.run_images import run_batch
from aocq.lowering import lower
from aocq.recipes.aocq_options import PRESETS, AocqOptions, PresetName
from aocq.records.claim import WORK
from aocq.records.design_costs import DesignCosts, costs_in_words
from aocq.records.run import RunResult
from aocq.search.candidates import Laboratory, emulated, quantized_at
from aocq.search.kept_scores import ScoresAndCosts, kept_or_made
from aocq.search.layer_scores import LayerScores, QuantizedNetwork, layer_scores
from aocq.search.places import Place, places_of, recipe_at
from aocq.search.plan import StepCosts
from aocq.search.run_again import RunAgain
from aocq.search.step_costs import step_costs
from simulator.executor import Executor

SCORE_IMAGES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """A run, the widths at its places, and what other widths do and cost.

    Attributes
    ----------
    run
        with the recipe that candidates have, but for widths: see :func:`with_preset`
    start
        the record of that recipe on the images that candidates are judged on
    places
        with the bits that the run has there
    """

    run: RunAgain
    start: RunResult
    places: Mapping[Place, int]
    scores: LayerScores
    costs: StepCosts


def with_preset(run: RunAgain, preset: PresetName | None) -> RunAgain:
    """Return a run with what a preset sets otherwise than the defaults do; None: with its own.

    The rest of the run's options stay, so that its network keeps its form; and its calibration
    images do: a layer with few tokens, as the classifier, is as good as these are many.
    """
    if preset is None:
        return run
    found, asked, usual = PRESETS[preset], run.request.calibration, AocqOptions()
    set_by = {
        field.name: getattr(found.options, field.name)
        for field in fields(usual)
        if getattr(found.options, field.name) != getattr(usual, field.name)
    }
    recipe = replace(asked.recipe, aocq=replace(asked.recipe.aocq, **set_by))
    calibration = replace(asked, recipe=recipe)
    return replace(run, request=replace(run.request, calibration=calibration))


def scored(run: RunAgain, laboratory: Laboratory, among: Collection[int] = ()) -> ScoredRun:
    """Quantize a run's network at widths of its chip, and score and cost all steps.

    Scores are taken on the images that candidates are judged on: on those that weights were fitted
    to, the rounding of a layer with few tokens shows no error.

    Parameters
    ----------
    among
        widths that count, see :func:`aocq.search.places.places_of`

    Raises
    ------
    InputError
        If there are no other widths to choose from.
    """
    asked, inputs = laboratory.request, laboratory.inputs
    recipe = asked.calibration.recipe
    places = places_of(run.reference, recipe, inputs.profile, among)
    start, _ = emulated(laboratory, recipe, "the run's recipe")
    # Before a budget can be refused: it is chosen by these.
    laboratory.note(f"the run costs (ESTIMATED): {costs_in_words(DesignCosts.of_run(start))}")
    depends_on = f"{request_key(asked, inputs)} {sorted(place.widths for place in places)}"
    key = hashlib.sha256(depends_on.encode()).hexdigest()[:16]
    found = kept_or_made(
        asked.out / WORK / f"scores-{key}",
        places,
        lambda: _scores_and_costs(run, laboratory, places, start),
    )
    return ScoredRun(run=run, start=start, places=places, scores=found.scores, costs=found.costs)


def _scores_and_costs(
    run: RunAgain, laboratory: Laboratory, places: Mapping[Place, int], start: RunResult
) -> ScoresAndCosts:
    asked, inputs = laboratory.request, laboratory.inputs
    recipe, progress = asked.calibration.recipe, laboratory.progress
    files = evenly(evenly(inputs.images, asked.evaluation.limit), SCORE_IMAGES)
    skip = asked.evaluation.skip_bad_images
    images, _ = load_calibration_images(files, inputs.model.preprocessing, skip_bad=skip)
    middle = _common(places, recipe.weight_bits)
    networks = _networks(run, laboratory, places, middle, images)
    with progress("score every layer at every width", len(images)) as advance:
        scores = layer_scores(run.reference, images, networks, middle, places, advance)
    captured = captured_network(asked.model, progress, laboratory.note)
    with progress("estimate every step", len(places)) as advance:
        costs = step_costs(
            captured,
            recipe,
            run.reference,
            places,
            DesignCosts.of_run(start),
            inputs.profile,
            asked.task,
            advance,
        )
    return ScoresAndCosts(scores=scores, costs=costs)


def _networks(
    run: RunAgain,
    laboratory: Laboratory,
    places: Mapping[Place, int],
    middle: int,
    images: Tensor,
) -> dict[int, QuantizedNetwork]:
    """Return the network with all weights at some widths, and what its integers say.

    They are the ``middle`` one, the next lower and the next higher one.
    """
    recipe, emulation = laboratory.request.calibration.recipe, laboratory.request.emulation
    found = {}
    for bits in _about(middle, places):
        uniform = recipe_at(
            recipe,
            run.reference,
            {place: bits if place.key == "w" else now for place, now in places.items()},
        )
        model = quantized_at(laboratory, run.reference, uniform)
        graph = lower(model, laboratory.inputs.profile)
        executor = Executor(graph, gemm=emulation.gemm, threads=emulation.threads)
        logits = torch.from_numpy(run_batch(executor, images).logits())
        found[bits] = QuantizedNetwork(model=model, logits=logits)
    return found


def _common(places: Mapping[Place, int], usual: int) -> int:
    """Return the bits that most weights have; the usual ones where they have no choice."""
    weights = Counter(bits for place, bits in places.items() if place.key == "w")
    return weights.most_common(1)[0][0] if weights else usual


def _about(now: int, places: Collection[Place]) -> list[int]:
    """Return a width and those beside it, of all that weights have."""
    widths = sorted({bits for place in places if place.key == "w" for bits in place.widths})
    if not widths:
        return [now]
    middle = widths.index(now)
    return widths[max(middle - 1, 0) : middle + 2]
