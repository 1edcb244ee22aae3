# SPDX-License-Identifier: Apache-2.0
"""Accumulator widths in units: exact integers first, then widths in waves, narrow ones first.

A width at which nothing overflows proves the integers of all wider registers under either rule:
after each wave these are known. Their rows say so, whether they were run in that wave or not, so
that a record is the same by however many workers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from aocq.progress import Note, Progress
from aocq.records.accumulator_widths import SweepRecord, SweepRow, Width, with_proven, with_row
from aocq.records.claim import WORK
from aocq.records.kept import keep, kept
from aocq.sweeps.engine import run_units
from aocq.sweeps.pool import Pool
from aocq.sweeps.unit import Failed, Unit
from simulator.errors import InputError

if TYPE_CHECKING:
    from aocq.jobs.accumulator_widths import Results, SweepRequest
    from simulator.graph import IntGraph

EXACT_NAME, RECORD_NAME, ROW_NAME = "exact.npy", "record.json", "row.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthsRequest:
    """A quantized model in a folder, the chip and the images, as a command line names them."""

    folder: Path
    task: str
    data: Path
    profile: str
    limit: int | None
    batch: int
    skip_bad_images: bool
    threads: int | None
    gemm: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRequest:
    """Exact integers, or a width; ``work`` is the folder where all units keep their results."""

    of: WidthsRequest
    work: Path
    width: Width | None = None

    @property
    def folder(self) -> Path:
        """The unit's own."""
        return self.work / ("exact" if self.width is None else "-".join(map(str, self.width)))


def taken_up(request: WidthsRequest, before: SweepRecord | None, note: Note) -> SweepRecord | None:
    """Return an earlier record if its network, images and code are this request's.

    Raises
    ------
    InputError
        If the model or the images cannot be read, or the profile cannot hold the model.
    """
    key = _opened(request).key
    if before is None:
        return None
    if before.key == key:
        return before.model_copy(update={"command": [*request.command]})
    note("accumulators.json is of another network, other images or other code: not used")
    return None


def work_folder(request: WidthsRequest, out: Path) -> Path:
    """Return the folder of unfinished work of a request in ``out``."""
    return out.absolute() / WORK / f"widths-{_opened(request).key}"


def run_widths(
    of: UnitRequest,
    widths: Sequence[Width],
    record: SweepRecord | None,
    pool: Pool,
    slots: int,
    note: Note,
    *,
    retry_failed: bool = False,
) -> Iterator[SweepRecord]:
    """Run the widths that are neither in a record nor proven; yield the record after each.

    Parameters
    ----------
    of
        the request of exact integers
    widths
        narrow ones first
    record
        what :func:`taken_up` returned
    slots
        of the pool: widths in a wave

    Raises
    ------
    InputError
        If no image can be decoded.
    """
    ready, failed = False, set[Width]()
    missing = left_of(record, widths)
    for width in widths:
        if width not in missing:
            note(f"{_name(width)}: finished before")
    while True:
        if record is not None:
            record = with_proven(record, widths)
            left = left_of(record, [width for width in widths if width not in failed])
            if not left:
                yield record
                return
            if not ready and record.exact_classes:
                _keep_classes(of.folder, record)
                ready = True
        if record is None or not ready:
            made = _exact(of, pool, note)
            record, ready = record or made, True
            continue
        wave = {_unit(of, width): width for width in left[:slots]}
        rows: list[SweepRow] = []
        for unit, outcome in run_units(wave, pool, note, retry_failed=retry_failed):
            if isinstance(outcome, Failed):
                note(f"{unit.name}: {outcome.reason}")
                failed.add(wave[unit])
            else:
                rows.append(outcome.value)
        for row in sorted(rows, key=lambda each: widths.index(each.width)):
            record = with_proven(record, [row.width])
            if left_of(record, [row.width]):
                record = with_row(record, row)
                _rules_agree_at_the_first_op(record, row.bits)
                yield record


def left_of(record: SweepRecord | None, widths: Sequence[Width]) -> list[Width]:
    """Return the widths that have no row."""
    there = {row.width for row in record.rows} if record is not None else set()
    return [width for width in widths if width not in there]


def find_exact(request: UnitRequest) -> SweepRecord | None:
    """Return the record of exact integers that are there, with their results; None without."""
    if kept(request.folder / EXACT_NAME) is None:
        return None
    text = kept(request.folder / RECORD_NAME)
    return None if text is None else SweepRecord.model_validate_json(text, strict=True)


def make_exact(request: UnitRequest, progress: Progress, note: Note) -> SweepRecord:
    """Run exact sums, keep their results, and return a record without a row.

    Raises
    ------
    InputError
        See :func:`aocq.jobs.accumulator_widths.exact_results`.
    """
    from aocq.jobs.accumulator_widths import exact_results

    del note
    opened = _opened(request.of)
    record, results = exact_results(opened.request, opened.exact, opened.key, progress)
    _keep_results(request.folder, results)
    keep(request.folder / RECORD_NAME, record.model_dump_json().encode())
    return record


def find_width(request: UnitRequest) -> SweepRow | None:
    """Return the row of a width that was run; None without one."""
    text = kept(request.folder / ROW_NAME)
    return None if text is None else SweepRow.model_validate_json(text, strict=True)


def make_width(request: UnitRequest, progress: Progress, note: Note) -> SweepRow:
    """Run a width, keep its row and return it.

    Raises
    ------
    InputError
        See :func:`aocq.jobs.accumulator_widths.width_row`.
    """
    import numpy as np

    from aocq.jobs.accumulator_widths import width_row

    del note
    assert request.width is not None
    content = kept(request.work / "exact" / EXACT_NAME)
    if content is None:
        raise InputError(f"{request.work}: was removed; give the same command again")
    results = np.load(io.BytesIO(content), allow_pickle=False)
    row = width_row(_opened(request.of).request, *request.width, results, progress)
    keep(request.folder / ROW_NAME, row.model_dump_json().encode())
    return row


def _exact(of: UnitRequest, pool: Pool, note: Note) -> SweepRecord:
    unit = Unit(
        name="exact integers", folder=of.folder, request=of, make=make_exact, find=find_exact
    )
    ((_, outcome),) = run_units([unit], pool, note, retry_failed=True)
    if isinstance(outcome, Failed):
        raise InputError(outcome.reason)
    found: SweepRecord = outcome.value
    return found


def _unit(of: UnitRequest, width: Width) -> Unit:
    request = UnitRequest(of=of.of, work=of.work, width=width)
    return Unit(
        name=_name(width),
        folder=request.folder,
        request=request,
        make=make_width,
        find=find_width,
    )


def _name(width: Width) -> str:
    return f"{width[0]} bits, {width[1]}"


def _keep_classes(folder: Path, record: SweepRecord) -> None:
    """Keep the class that exact integers predict for each image, which a record has."""
    import numpy as np

    _keep_results(folder, np.array(record.exact_classes, np.int64))


def _keep_results(folder: Path, results: Results) -> None:
    import numpy as np

    content = io.BytesIO()
    np.save(content, results, allow_pickle=False)
    folder.mkdir(parents=True, exist_ok=True)
    keep(folder / EXACT_NAME, content.getvalue())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What a request names, the graph whose registers hold every sum, and the digest of all."""

    request: SweepRequest
    exact: IntGraph
    key: str


@lru_cache(maxsize=1)
def _opened(request: WidthsRequest) -> _Opened:
    from aocq import progress
    from aocq.data.loader import evenly
    from aocq.jobs.accumulator_widths import SweepRequest, exact_graph
    from aocq.jobs.keys import sweep_key
    from aocq.methods import storage
    from aocq.tasks.task import task_of
    from simulator.graph.meta import meta_of
    from simulator.profile import load_profile

    model = storage.load(request.folder)
    meta = meta_of(model.meta, str(request.folder))
    if meta is None:
        raise InputError(
            f"{request.folder}: does not say how images are preprocessed; quantize again"
        )
    task = task_of(request.task)
    task.check(str(request.folder), model.graph.output.shape, meta.preprocessing)
    dataset = task.read(request.data, meta.classes, progress.note)
    images = evenly(dataset.images, request.limit)
    task.check_images(dataset, images)
    profile = load_profile(request.profile)
    exact = exact_graph(model, profile)
    opened = SweepRequest(
        model=model,
        task=task,
        dataset=dataset,
        profile=profile,
        data=request.data,
        images=images,
        preprocessing=meta.preprocessing,
        batch=request.batch,
        skip_bad_images=request.skip_bad_images,
        threads=request.threads,
        gemm=request.gemm,
        command=request.command,
    )
    key = sweep_key(exact, images, f"{task.name} {dataset.digest}")
    return _Opened(request=opened, exact=exact, key=key)


def _rules_agree_at_the_first_op(record: SweepRecord, bits: int) -> None:
    """Check that both rules count the same overflows in the first op, whose inputs are the same.

    Inputs of later ops are changed by an overflow, by one rule or the other.
    """
    found = {(row.first_persistent, row.first_transient) for row in record.rows if row.bits == bits}
    assert len(found) <= 1, f"{bits} bits: wrap and saturate count other overflows in the first op"
