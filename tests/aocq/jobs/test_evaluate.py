# SPDX-License-Identifier: Apache-2.0
"""Three engines on the same images: figures, resumption batch by batch, images left out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph
from aocq.data import loader
from aocq.data.image_folder import LabelledImage
from aocq.data.loader import BadImageError, ImageBatches
from aocq.jobs.evaluate import Evaluation, _as_row, _from_row, evaluate
from aocq.jobs.op_sqnr import sqnr_per_op
from aocq.lowering import lower
from aocq.methods import METHODS, QuantizedModel
from aocq.recipes.recipe import Recipe
from aocq.records.image_outcomes import outcomes_of
from aocq.tasks.metrics import agreement, decibel, outcomes, paired_counts, sqnr_db, top_k
from simulator.counts import OpCounts
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.ops.behaviour import SumCounts
from simulator.profile import load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
Job = tuple[nn.Module, QuantizedModel, Executor]
PREPROCESSING = {
    "input_size": (3, 16, 16),
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "crop_pct": 1.0,
    "crop_mode": "center",
}


@pytest.fixture
def job(nano: Captured) -> Job:
    network, graph = nano("class_token")
    model = METHODS["base_ptq"](graph, images(16, input_size(NANO)), Recipe())
    return network, model, Executor(lower(model, load_profile("edge_npu_int8")), threads=1)


@pytest.fixture
def data(tmp_path: Path) -> ImageBatches:
    """Eleven images in batches of four."""
    chance = np.random.default_rng(0)
    listed = []
    for index in range(11):
        path = tmp_path / "data" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
        listed.append(LabelledImage(path=path, label=index % 10))
    return ImageBatches(listed, PREPROCESSING, batch=4)


def assert_equal(a: Evaluation, b: Evaluation) -> None:
    for name in ("float", "simulated", "integer"):
        np.testing.assert_array_equal(a.logits[name], b.logits[name])
    np.testing.assert_array_equal(a.labels, b.labels)
    assert (a.counts, a.skipped) == (b.counts, b.skipped)


def test_all_engines_see_all_images_in_order(job: Job, data: ImageBatches, tmp_path: Path) -> None:
    network, model, executor = job
    done: list[int] = []
    result = evaluate(network, model, executor, data, tmp_path / "work", done.append)
    assert done == [4, 4, 3]
    assert result.labels.tolist() == [index % 10 for index in range(11)]
    pixels = torch.cat([batch for batch, _ in data])
    np.testing.assert_allclose(
        result.logits["float"], network(pixels).double().numpy(), rtol=1e-4, atol=1e-4
    )
    assert {values.shape for values in result.logits.values()} == {(11, 10)}
    assert result.counts["head"].elements == 110
    assert set(result.seconds) == {"float", "simulated", "integer"}
    noise = sqnr_db(result.logits["simulated"], result.logits["integer"])
    assert noise is None or noise > 25
    assert result.skipped == ()


def test_finished_batches_are_taken_up_and_others_made_again(
    job: Job, data: ImageBatches, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    first = evaluate(*job, data, work)
    files = sorted(work.iterdir())
    assert [path.name for path in files] == [f"batch-0000{i}.npz" for i in range(3)]
    files[1].unlink()
    before = {path: path.stat().st_mtime_ns for path in (files[0], files[2])}
    done: list[int] = []
    assert_equal(evaluate(*job, data, work, done.append), first)
    assert done == [4, 4, 3], "finished batches count as progress too"
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert files[1].exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"cut", None], ids=["empty", "PK", "cut", "other"])
def test_a_damaged_batch_is_made_again(
    job: Job, data: ImageBatches, tmp_path: Path, content: bytes | None
) -> None:
    """Never taken, never an end: cut, emptied, or the whole file of another batch."""
    work = tmp_path / "work"
    first = evaluate(*job, data, work)
    path, other = work / "batch-00001.npz", work / "batch-00000.npz"
    whole = path.read_bytes()
    cut = whole[: len(whole) // 2]
    path.write_bytes(
        other.read_bytes() if content is None else cut if content == b"cut" else content
    )
    assert_equal(evaluate(*job, data, work), first)
    assert len(path.read_bytes()) == len(whole)


def test_outputs_that_are_not_finite_are_an_error(
    job: Job, data: ImageBatches, tmp_path: Path
) -> None:
    network, model, executor = job
    network = nn.Sequential(network, nn.Threshold(1e9, float("inf")))  # every output
    with pytest.raises(InputError, match="the float network's outputs are not finite on 4 of 4 im"):
        evaluate(network, model, executor, data, tmp_path / "work")


def test_the_next_batch_is_decoded_while_one_is_computed(
    job: Job, data: ImageBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engines of a batch wait here until the next one is there: nobody else decodes it."""
    network, model, executor = job
    decoded: list[str] = []
    real_open, real_run = loader.open_image, executor.run
    progress = threading.Condition()

    def open_image(path: Path, channels: int) -> Image.Image:
        with progress:
            decoded.append(path.name)
            progress.notify()
        return real_open(path, channels)

    wanted = iter([8, 11, 11])
    runs: list[int] = []

    def run(codes: Any, **options: Any) -> Any:
        runs.append(len(codes))
        if len(codes) == 1:  # only to compile kernels
            return real_run(codes, **options)
        count = next(wanted)
        with progress:
            assert progress.wait_for(lambda: len(decoded) == count, 10)
        return real_run(codes, **options)

    monkeypatch.setattr(loader, "open_image", open_image)
    monkeypatch.setattr(executor, "run", run)
    evaluate(network, model, executor, data, tmp_path / "work")
    assert decoded == [item.path.name for item in data.images]
    assert runs == [1, 4, 4, 3]  # once compiled, no image is run twice


def test_the_batch_size_changes_no_integer(job: Job, data: ImageBatches, tmp_path: Path) -> None:
    results = [
        evaluate(*job, replace(data, batch=batch), tmp_path / str(batch)) for batch in (1, 11)
    ]
    np.testing.assert_array_equal(results[0].logits["integer"], results[1].logits["integer"])
    assert results[0].counts == results[1].counts


def test_images_left_out_are_listed_in_order(job: Job, data: ImageBatches, tmp_path: Path) -> None:
    whole = evaluate(*job, data, tmp_path / "whole")
    bad = [data.images[index].path for index in (0, 4, 5, 6, 7)]  # the second batch is all bad
    for path in bad:
        path.write_bytes(b"damaged")
    result = evaluate(*job, replace(data, skip_bad=True), tmp_path / "work")
    assert result.skipped == tuple(map(str, bad))
    kept = [1, 2, 3, 8, 9, 10]
    assert result.labels.tolist() == [index % 10 for index in kept]
    np.testing.assert_array_equal(result.logits["integer"], whole.logits["integer"][kept])
    assert result.counts["head"].elements == 60


def test_a_bad_image_ends_the_evaluation_but_keeps_its_finished_batches(
    job: Job, data: ImageBatches, tmp_path: Path
) -> None:
    good = data.images[5].path.read_bytes()
    data.images[5].path.write_bytes(b"damaged")
    with pytest.raises(BadImageError, match=r"5\.png"):
        evaluate(*job, data, tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["batch-00000.npz"]
    data.images[5].path.write_bytes(good)
    assert len(evaluate(*job, data, tmp_path / "work").labels) == 11


def test_batches_of_a_run_that_left_images_out_do_not_pass_for_complete(
    job: Job, data: ImageBatches, tmp_path: Path
) -> None:
    data.images[5].path.write_bytes(b"damaged")
    evaluate(*job, replace(data, skip_bad=True), tmp_path / "work")
    said = r"5\.png: cannot be decoded \(an earlier attempt could not\); .*--skip-bad-images"
    with pytest.raises(BadImageError, match=said) as found:
        evaluate(*job, data, tmp_path / "work")
    assert found.value.reason == "an earlier attempt could not"


def test_nothing_but_bad_images_is_an_error(job: Job, data: ImageBatches, tmp_path: Path) -> None:
    for item in data.images:
        item.path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="no image could be decoded"):
        evaluate(*job, replace(data, skip_bad=True), tmp_path / "work")


def test_the_noise_of_every_op_is_measured_against_the_float_network(
    job: Job, data: ImageBatches
) -> None:
    _, model, executor = job
    done: list[int] = []
    found = sqnr_per_op(model, executor, data, model.graph.parameters, done.append)
    assert sum(done) == 11
    assert {"blocks.0.attn.scores", "blocks.0.mlp.act", "blocks.0.add", "head"} <= set(found)
    assert "cls_token" not in found, "constants do not pass through the network"
    assert all(value is not None and value > 10 for value in found.values()), found
    assert found["image"] > found["head"], "errors add up along the network"


def test_outcomes_are_counted_in_pairs_and_add_up_to_both_accuracies() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 400)
    first, second = (np.round(rng.normal(size=(400, 3)), 1) for _ in range(2))  # with ties
    found = paired_counts(first, second, labels)
    right = [
        [int(np.argmax(row)) == label for row, label in zip(logits, labels, strict=True)]
        for logits in (first, second)
    ]
    pairs = [*zip(*right, strict=True)]
    assert [*found.model_dump().values()] == [
        pairs.count((one, other))
        for one, other in ((True, True), (True, False), (False, True), (False, False))
    ]
    ours = 100 * (found.both_right + found.only_first_right) / 400
    assert ours == top_k(first, labels, 1)
    assert 100 * (found.both_right + found.only_second_right) / 400 == top_k(second, labels, 1)


def test_outcomes_of_images_add_up_to_accuracy_and_agreement() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 21)
    real, integer = (np.round(rng.normal(size=(21, 3)), 1) for _ in range(2))
    found = outcomes(real, integer, labels)
    right, alike = (outcomes_of(bits, 21) for bits in (found.right, found.alike))
    assert 100 * int(right.sum()) / 21 == top_k(integer, labels, 1)
    assert 100 * int(alike.sum()) / 21 == agreement(integer, real)
    assert 0 < right.sum() < 21
    assert 0 < alike.sum() < 21


def test_top_k_counts_hits_and_breaks_ties_by_class_number() -> None:
    logits = np.array([[0.0, 3.0, 3.0, 1.0], [5.0, 5.0, 5.0, 5.0]])
    assert top_k(logits, np.array([1, 0]), 1) == 100.0
    assert top_k(logits, np.array([2, 3]), 1) == 0.0
    assert top_k(logits, np.array([2, 3]), 2) == 50.0
    assert top_k(logits, np.array([0, 3]), 4) == 100.0
    assert top_k(logits, np.array([0, 3]), 5) == 100.0, "more than there are classes"


def test_agreement_is_a_share_of_images() -> None:
    a = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [0.0, 9.0]])
    assert agreement(a, a * 2) == 100.0
    assert agreement(a, a[[0, 1, 2, 1]]) == 75.0


def test_noise_is_in_decibel_and_none_where_there_is_nothing_to_compare() -> None:
    assert sqnr_db(np.array([[10.0]]), np.array([[9.0]])) == pytest.approx(20)
    assert sqnr_db(np.array([[10.0]]), np.array([[10.0]])) is None
    assert decibel(0.0, 1.0) is None
    assert decibel(1.0, 1.0) == 0.0
    for signal, noise in ((np.inf, 1.0), (1.0, np.inf), (np.inf, np.inf), (np.nan, 1.0)):
        assert decibel(signal, noise) is None
    assert decibel(1e308, 1e-308) is None, "no float64 holds the ratio"


def test_counts_survive_their_file_and_older_files_have_no_walked_sums():
    counts = OpCounts(elements=7, saturated=2, sums=SumCounts(1, 2, 3, -9, 12), in_order=5)
    row = np.array(_as_row(counts))
    assert (_from_row(row), _from_row(row).in_order) == (counts, 5)
    assert (_from_row(row[:-1]), _from_row(row[:-1]).in_order) == (counts, 0)
    assert _from_row(np.array(_as_row(OpCounts(elements=3)))).sums is None
