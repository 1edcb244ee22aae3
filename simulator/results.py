# SPDX-License-Identifier: Apache-2.0
"""RunResult: the one record of a run (``run.json`` and ``layers.csv``) that everything else reads.

Percentages are in percent (81.25), SQNR in dB, sizes in bytes, cycles in cycles of the compute
clock, for one image unless a name says otherwise.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from simulator.errors import InputError
from simulator.files import write_text

RUN_NAME = "run.json"
LAYERS_NAME = "layers.csv"
FEW_IMAGES = 200  # below this many, a verdict says how much a single one weighs
REPORT_NAMES = ("report.html", "report.md")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Emulation(_Record):
    """How fast the integer emulation ran (all images), by the clock, beside decoding.

    gemm_backend : the matrix product that was used
    gemm_probe : what the probe of every backend said: ``exact``, or why it cannot be used
    walked : sums made term by term, because no bound kept them in their registers
    sums : sums of all accumulators
    """

    seconds: float
    images_per_second: float
    threads: int
    gemm_backend: str
    gemm_probe: dict[str, str] = {}
    walked: int | None = None
    sums: int | None = None


class ModelRecord(_Record):
    """The float network.

    table_bytes : what is computed, not trained, and old checkpoints hold nevertheless: indices of
        relative positions, masks
    arguments : of its constructor that are not those of its name
    preprocessing : of images, in timm's words
    weights_taken : sentences: which weights of a checkpoint's, what was left out or resampled
    """

    name: str
    checkpoint_sha256: str | None
    parameters: int
    table_bytes: int = 0
    arguments: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}
    weights_taken: list[str] = []


class MethodRecord(_Record):
    """The quantization method and what it was asked for."""

    name: str
    weight_bits: int
    activation_bits: int
    recipe: dict[str, Any]
    calibration_images: int
    seconds: float


class ProfileRecord(_Record):
    """The hardware profile."""

    name: str
    sha256: str
    title: str
    clock_mhz: float
    sources: dict[str, str]


class GraphRecord(_Record):
    """The integer graph."""

    sha256: str
    ops: int
    macs: int
    float_ops: int


class TopK(_Record):
    """Accuracy in percent."""

    top1: float
    top5: float


class Agreement(_Record):
    """Share of images, in percent, on which two engines predict the same class."""

    integer_float: float
    integer_simulated: float


class LogitSqnr(_Record):
    """Signal-to-quantization-noise ratio of the logits, in dB; None where the noise is zero."""

    integer_float: float | None
    simulated_float: float | None
    integer_simulated: float | None


class Accuracy(_Record):
    """Float, simulated-quantized and integer networks on the same images.

    sqnr_images, differing_images : on how many of them the two figures of single ops were found;
        None in older records
    """

    images: int
    skipped_images: list[str]
    sqnr_images: int | None = None
    differing_images: int | None = None
    float: TopK
    simulated: TopK
    integer: TopK
    agreement: Agreement
    logit_sqnr_db: LogitSqnr


class OverflowOfOp(_Record):
    """An op whose accumulator overflowed, or whose results left their type."""

    op: str
    overflowed: int
    saturated: int
    elements: int
    persistent: int | None = None


class OverflowRecord(_Record):
    """Accumulators over the whole run.

    proven_free : accumulators that no input can overflow
    counted_free : accumulators not proven, but without an event in this run
    overflowing : accumulators with events
    events : outputs whose accumulator overflowed, summed over all ops and images
    persistent, transient : of these, those of which a completed sum did not fit, and the others
    changed : outputs whose sum is not the exact one: all events where registers saturate, the
        persistent ones where they wrap; under the policy ``report`` those that would not be
    least_headroom_bits : register bits that no sum of the run used, in the op with the fewest
    per_op : every op with an overflow or a saturated result, worst first
    policy : what an overflow means, ``apply``, ``report`` or ``error``; several of them, with
        commas, where ops differ; None in older records and without an accumulator
    """

    proven_free: int
    counted_free: int
    overflowing: int
    events: int
    per_op: list[OverflowOfOp]
    persistent: int | None = None
    transient: int | None = None
    changed: int | None = None
    least_headroom_bits: int | None = None
    policy: str | None = None


class MemoryRecord(_Record):
    """Bytes on the chip and beside it; ``sram_bytes`` is what the profile has."""

    sram_bytes: int
    weight_bytes: int
    model_size_bytes: int
    peak_sram_bytes: int
    peak_lower_bound_bytes: int
    dram_bytes: int


class CyclesRecord(_Record):
    """ESTIMATED cycles of one image."""

    total: int
    compute: int
    vector: int
    dma: int
    stall: int
    by_kind: dict[str, int]
    bound_by: dict[str, int]


class Verdict(_Record):
    """Yes or no, and why not.

    feasible : activations fit the SRAM, every gate passed, and no sum is exact only because its
        overflow is merely reported
    failed : what did not hold, a sentence each
    gates : the thresholds that were applied, by option name
    """

    feasible: bool
    failed: list[str]
    gates: dict[str, float] = {}


class LayerRow(_Record):
    """One op of the graph, in order: a row of ``layers.csv``.

    arithmetic : ``integer`` or ``float32``
    sqnr_db : result against the float network's same tensor; None where there is no such tensor
    differing_codes : results per image that differ from simulated quantization on equal inputs;
        None where that has no such tensor
    onto_residual : the op adds to the residual stream, whatever its kind
    accumulator_bits : bits that the sums may need, by static bounds; None without an accumulator
    persistent, transient, changed : see :class:`OverflowRecord`
    sum_bits : bits that the completed sums of the run needed
    headroom_bits : bits of the outermost register less ``sum_bits``; below 0 where it overflowed
    """

    index: int
    op: str
    kind: str
    shape: str
    type: str
    arithmetic: str = "integer"
    macs: int
    weight_bytes: int
    cycles: int
    compute_cycles: int
    vector_cycles: int
    dma_cycles: int
    stall_cycles: int
    bound_by: str
    elements: int
    saturated: int
    overflowed: int
    accumulator_bits: int | None
    proven_free: bool
    sqnr_db: float | None
    differing_codes: float | None = None
    onto_residual: bool = False
    persistent: int | None = None
    transient: int | None = None
    changed: int | None = None
    sum_bits: int | None = None
    headroom_bits: int | None = None


class RunResult(_Record):
    """One run: what was asked, what came out, and the hashes that identify all of it."""

    format: Literal[1] = 1
    command: list[str]
    seed: int
    versions: dict[str, str]
    emulation: Emulation
    model: ModelRecord
    method: MethodRecord
    profile: ProfileRecord
    graph: GraphRecord
    accuracy: Accuracy
    overflow: OverflowRecord
    memory: MemoryRecord
    cycles: CyclesRecord
    latency_ms: float
    fps: float
    energy: dict[str, float]
    verdict: Verdict

    def to_json(self) -> str:
        """Return the text of ``run.json``."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def layers_csv(rows: list[LayerRow]) -> str:
    """Return the text of ``layers.csv``; an empty cell means None."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(LayerRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return text.getvalue()


def save_run(result: RunResult, rows: list[LayerRow], folder: Path) -> None:
    """Write ``layers.csv`` and then ``run.json`` into ``folder``."""
    write_text(folder / LAYERS_NAME, layers_csv(rows))
    write_text(folder / RUN_NAME, result.to_json())


def load_run(folder: Path) -> tuple[RunResult, list[LayerRow]]:
    """Read a run folder.

    Raises
    ------
    InputError
        If ``run.json`` or ``layers.csv`` is missing or is not what :func:`save_run` writes.
    """
    result = load_record(folder)
    with _reading(folder / LAYERS_NAME) as path, path.open(encoding="utf-8", newline="") as file:
        rows = [LayerRow.model_validate(_empty_as_none(row)) for row in csv.DictReader(file)]
    return result, rows


def load_record(folder: Path) -> RunResult:
    """Read the record of a run folder, without the rows of its ops.

    Raises
    ------
    InputError
        If ``run.json`` is missing or is not what :func:`save_run` writes.
    """
    with _reading(folder / RUN_NAME) as path:
        return RunResult.model_validate_json(path.read_text(encoding="utf-8"))


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Turn what can go wrong with a file of a run into an InputError that names it."""
    try:
        yield path
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); a run folder is what `aocq verify --out` "
            "writes"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: not a run of format 1: {place}: {first['msg']}") from error


def refuse_run_folder(folder: Path) -> None:
    """Refuse to put other files into a finished run, whose record vouches for what is there.

    Raises
    ------
    InputError
        If ``folder`` holds a ``run.json``.
    """
    if (folder / RUN_NAME).exists():
        raise InputError(
            f"{folder}: holds a finished run ({RUN_NAME}), whose files belong together; name "
            "another folder with --out"
        )


def _empty_as_none(row: Mapping[str, str]) -> dict[str, str | None]:
    return {key: value or None for key, value in row.items()}


def typed(settings: Mapping[str, Any]) -> str:
    """Return settings of a model as they are typed: ``img_size=32 depths=2,2,2``."""
    return " ".join(f"{key}={_text(value)}" for key, value in settings.items())


def _text(value: Any) -> str:
    return ",".join(map(_text, value)) if isinstance(value, (list, tuple)) else str(value)
