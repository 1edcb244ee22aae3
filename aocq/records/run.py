# SPDX-License-Identifier: Apache-2.0
"""RunResult: the one record of a run (``run.json`` and ``layers.csv``) that everything else reads.

Percentages are in percent (81.25), SQNR in dB, sizes in bytes, cycles in cycles of the compute
clock, for one image unless a name says otherwise.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from simulator import strict_json
from simulator.errors import InputError
from simulator.files import write_text
from simulator.reading import read_text

RUN_NAME = "run.json"
LAYERS_NAME = "layers.csv"
FEW_IMAGES = 200  # below this many, a verdict says how much a single one weighs
REPORT_NAMES = ("report.html", "report.md")
MOST = 2**63 - 1  # of what is counted

# What figures can be: a record out of these ranges is of no run.
Count = Annotated[int, Field(ge=0, le=MOST)]
Bits = Annotated[int, Field(ge=0, le=1024)]
Headroom = Annotated[int, Field(ge=-1024, le=1024)]
Percent = Annotated[float, Field(ge=0, le=100)]
Decibel = Annotated[float, Field(ge=-1e4, le=1e4)]
Amount = Annotated[float, Field(ge=0, le=1e15)]  # seconds, milliseconds, rates
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,1000}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Emulation(_Record):
    """How fast the integer emulation ran (all images), by the clock, beside decoding.

    gemm_backend : the matrix product that was used
    gemm_probe : what the probe of every backend said: ``exact``, or why it cannot be used
    walked : sums made term by term, because no bound kept them in their registers
    sums : sums of all accumulators
    """

    seconds: Amount
    images_per_second: Amount
    threads: Count
    gemm_backend: Name
    gemm_probe: dict[str, str] = {}
    walked: Count | None = None
    sums: Count | None = None


class ModelRecord(_Record):
    """The float network.

    table_bytes : what is computed, not trained, and old checkpoints hold nevertheless: indices of
        relative positions, masks
    arguments : of its constructor that are not those of its name
    preprocessing : of images, in timm's words
    """

    name: Name
    checkpoint_sha256: Name | None
    parameters: Count
    table_bytes: Count = 0
    arguments: dict[str, Any] = {}
    preprocessing: dict[str, Any] = {}


class MethodRecord(_Record):
    """The quantization method and what it was asked for."""

    name: Name
    weight_bits: Bits
    activation_bits: Bits
    recipe: dict[str, Any]
    calibration_images: Count
    seconds: Amount


class ProfileRecord(_Record):
    """The hardware profile."""

    name: Name
    sha256: Name
    title: str
    clock_mhz: Amount
    sources: dict[str, str]


class GraphRecord(_Record):
    """The integer graph."""

    sha256: Name
    ops: Count
    macs: Count
    float_ops: Count


class DataRecord(_Record):
    """The images that a run evaluated.

    name : last part of the data folder's path
    classes : how many the network tells apart
    images : how many files were chosen from the folder, those that could not be decoded included
    digest : sha256 over these files' places in the folder, class numbers and sizes
    """

    name: str
    classes: Count
    images: Count
    digest: Name


class TopK(_Record):
    """Accuracy in percent."""

    top1: Percent
    top5: Percent


class Agreement(_Record):
    """Share of images, in percent, on which two engines predict the same class."""

    integer_float: Percent
    integer_simulated: Percent


class LogitSqnr(_Record):
    """Signal-to-quantization-noise ratio of the logits, in dB; None where the noise is zero."""

    integer_float: Decibel | None
    simulated_float: Decibel | None
    integer_simulated: Decibel | None


class Accuracy(_Record):
    """Float, simulated-quantized and integer networks on the same images.

    sqnr_images, differing_images : on how many of them the two figures of single ops were found;
        None in older records
    """

    images: Annotated[int, Field(ge=1, le=MOST)]
    skipped_images: list[str]
    sqnr_images: Count | None = None
    differing_images: Count | None = None
    float: TopK
    simulated: TopK
    integer: TopK
    agreement: Agreement
    logit_sqnr_db: LogitSqnr


class OverflowOfOp(_Record):
    """An op whose accumulator overflowed, or whose results left their type."""

    op: Name
    overflowed: Count
    saturated: Count
    elements: Count
    persistent: Count | None = None


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
    reported : sums that would overflow but stay exact, because the policy of their op only reports
        it; 0 if none of them would be another; None in older records
    """

    proven_free: Count
    counted_free: Count
    overflowing: Count
    events: Count
    per_op: list[OverflowOfOp]
    persistent: Count | None = None
    transient: Count | None = None
    changed: Count | None = None
    least_headroom_bits: Headroom | None = None
    policy: str | None = None
    reported: Count | None = None


class MemoryRecord(_Record):
    """Bytes on the chip and beside it; ``sram_bytes`` is what the profile has."""

    sram_bytes: Count
    weight_bytes: Count
    model_size_bytes: Count
    peak_sram_bytes: Count
    peak_lower_bound_bytes: Count
    dram_bytes: Count


class CyclesRecord(_Record):
    """ESTIMATED cycles of one image."""

    total: Count
    compute: Count
    vector: Count
    dma: Count
    stall: Count
    by_kind: dict[str, Count]
    bound_by: dict[str, Count]


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

    index: Count
    op: Name
    kind: Name
    shape: Annotated[str, StringConstraints(pattern=r"^([0-9]{1,18}(x[0-9]{1,18}){0,63})?$")]
    type: Name
    arithmetic: Name = "integer"
    macs: Count
    weight_bytes: Count
    cycles: Count
    compute_cycles: Count
    vector_cycles: Count
    dma_cycles: Count
    stall_cycles: Count
    bound_by: Name
    elements: Count
    saturated: Count
    overflowed: Count
    accumulator_bits: Bits | None
    proven_free: bool
    sqnr_db: Decibel | None
    differing_codes: Amount | None = None
    onto_residual: bool = False
    persistent: Count | None = None
    transient: Count | None = None
    changed: Count | None = None
    sum_bits: Bits | None = None
    headroom_bits: Headroom | None = None


class RunResult(_Record):
    """One run: what was asked, what came out, and the hashes that identify all of it.

    data : None in older records
    notes : what a reader should know beside the figures, a sentence each, e.g. which of a
        checkpoint's weights were taken
    """

    format: Literal[1] = 1
    command: list[str]
    seed: int
    versions: dict[str, str]
    emulation: Emulation
    model: ModelRecord
    data: DataRecord | None = None
    method: MethodRecord
    profile: ProfileRecord
    graph: GraphRecord
    accuracy: Accuracy
    overflow: OverflowRecord
    memory: MemoryRecord
    cycles: CyclesRecord
    latency_ms: Amount
    fps: Amount
    energy: dict[str, float]
    verdict: Verdict
    notes: list[str] = []

    def to_json(self) -> str:
        """Return the text of ``run.json``."""
        plain = self.model_dump(mode="json")
        return strict_json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


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
    with _reading(folder / LAYERS_NAME) as path:
        rows = _rows(read_text(path))
        if len(rows) != result.graph.ops:
            raise ValueError(f"{len(rows)} ops, {RUN_NAME} says {result.graph.ops}")
    return result, rows


def _rows(text: str) -> list[LayerRow]:
    """Return what :func:`layers_csv` wrote; columns that older records lack may be missing.

    Raises
    ------
    ValueError
        If a line is missing, too many or out of order, or holds what it cannot; it is named.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next(reader, [])
        wanted = {name for name, field in LayerRow.model_fields.items() if field.is_required()}
        if len(set(names)) < len(names) or not wanted <= {*names} <= LayerRow.model_fields.keys():
            raise ValueError("line 1: not the columns of a table of ops")
        return [_row(names, cells, index, reader.line_num) for index, cells in enumerate(reader)]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _row(names: Sequence[str], cells: Sequence[str], index: int, line: int) -> LayerRow:
    if len(cells) != len(names):
        raise ValueError(f"line {line}: {len(cells)} cells, wanted {len(names)}")
    try:
        row = LayerRow.model_validate(
            {name: cell or None for name, cell in zip(names, cells, strict=True)}
        )
    except ValidationError as error:
        raise ValueError(f"line {line}: {_first(error)}") from error
    if row.index != index:
        raise ValueError(f"line {line}: op number {row.index}, wanted {index}: a line is missing")
    return row


def load_record(folder: Path) -> RunResult:
    """Read the record of a run folder, without the rows of its ops.

    Raises
    ------
    InputError
        If ``run.json`` is missing or is not what :func:`save_run` writes.
    """
    with _reading(folder / RUN_NAME) as path:
        text = read_text(path)
        strict_json.loads(text)  # refuses what pydantic's reader lets pass: a key twice, 1e999
        return RunResult.model_validate_json(text, strict=True)


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
        raise InputError(f"{path}: not a run of format 1: {_first(error)}") from error
    except ValueError as error:  # text that is not UTF-8 too
        raise InputError(
            f"{path}: not a run of format 1: {error}; make the run again, or take a whole copy"
        ) from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def refuse_run_folder(folder: Path) -> None:
    """Refuse to put other files into a finished run, whose record vouches for what is there.

    Raises
    ------
    InputError
        If ``folder`` holds a ``run.json``.
    """
    if os.path.lexists(folder / RUN_NAME):  # False, too, for what no file can be named
        raise InputError(
            f"{folder}: holds a finished run ({RUN_NAME}), whose files belong together; name "
            "another folder with --out"
        )
