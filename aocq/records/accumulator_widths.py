# SPDX-License-Identifier: Apache-2.0
"""SweepRecord: one network's integers at many accumulator widths (``accumulators.json``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from aocq.records.accuracy import IMAGES, SAME_CLASS, TOP1, Score
from aocq.records.fields import Amount, Bits, Count, Headroom, Name, Percent, Record
from aocq.records.manifest import is_whole, load_manifest
from aocq.records.run import DataRecord
from simulator import strict_json
from simulator.errors import InputError
from simulator.files import write_text
from simulator.reading import read_text

COMMAND = "accumulators"  # in the folder's manifest
SWEEP_NAME = "accumulators.json"
Rule = Literal["wrap", "saturate"]
RULES: tuple[Rule, ...] = ("wrap", "saturate")
Width = tuple[int, Rule]


class SweepRow(Record):
    """The integers of one network at one register width, under one overflow rule.

    Counts are over all images and all ops with an accumulator.

    Attributes
    ----------
    graph_sha256
        of the graph that was run; None where nothing was run
    same_as
        bits and rule of the run that proves this row's figures; None where the row is a run
    main_score
        in percent: of classification the share of images that are right; ``top1`` in older records
    agreement
        percent of what exact integers predict that is predicted alike
    outputs
        sums that were completed
    persistent, transient, changed
        of them, see :class:`simulator.ops.behaviour.SumCounts`
    overflowing
        accumulators with an overflow of any kind
    least_headroom_bits
        register bits that no sum used, in the op with the fewest; below 0 where one did not fit
    first_persistent, first_transient
        in the first op with an accumulator, whose inputs no rule can have changed
    seconds
        time of the emulation, decoding of images included
    """

    bits: Bits
    overflow: Rule
    graph_sha256: Name | None
    same_as: tuple[Bits, Rule] | None = None
    main_score: Percent = Field(validation_alias=AliasChoices("main_score", "top1"))
    agreement: Percent
    outputs: Count
    persistent: Count
    transient: Count
    changed: Count
    overflowing: Count
    least_headroom_bits: Headroom
    first_persistent: Count
    first_transient: Count
    seconds: Amount

    @property
    def width(self) -> Width:
        """Register width and overflow rule."""
        return self.bits, self.overflow

    @property
    def exact(self) -> bool:
        """True without any overflow: all integers are those of unlimited registers.

        On the same images, every wider register and the other rule then give the same integers.
        """
        return not (self.persistent or self.transient or self.changed)


class SweepRecord(Record):
    """All widths of one network on the same images.

    Attributes
    ----------
    key
        digest of the exact graph, the images and the code: rows are taken up again under it alone
    graph_sha256
        of the graph with exact sums
    arguments
        of the network's constructor, where they are not those of its name
    data
        the images; None in older records
    mixed
        whether rules for single layers give some of them other bits than ``weight_bits`` and
        ``activation_bits``
    accumulators
        ops with an accumulator
    score, shares_of, alike
        what ``main_score`` is, and what agreement is the share of and means: as of
        :class:`aocq.records.accuracy.Accuracy`
    exact_score
        main score of exact sums, in percent; ``exact_top1`` in older records
    exact_classes
        of exact sums: the class predicted for each image, in order; empty of tasks that do not
        judge image by image
    rows
        by rising width, ``wrap`` before ``saturate``
    """

    format: Literal[1] = 1
    command: list[str]
    key: Name
    model: Name
    arguments: dict[str, Any] = Field(default_factory=dict)
    data: DataRecord | None = None
    method: Name
    weight_bits: Bits
    activation_bits: Bits
    mixed: bool = False
    profile: Name
    graph_sha256: Name
    accumulators: Count
    images: Annotated[int, Field(ge=1)]
    skipped_images: Count
    exact_score: Percent = Field(validation_alias=AliasChoices("exact_score", "exact_top1"))
    exact_classes: list[Count] = Field(default_factory=list)
    score: Score = TOP1
    shares_of: Name = IMAGES
    alike: Name = SAME_CLASS
    rows: list[SweepRow]

    @property
    def widths(self) -> set[Width]:
        """Register widths and rules that have a row."""
        return {row.width for row in self.rows}

    @property
    def exact_from(self) -> int | None:
        """The narrowest width at which nothing overflows; None if there is none among the rows."""
        return min((row.bits for row in self.rows if row.exact), default=None)


def with_row(record: SweepRecord, row: SweepRow) -> SweepRecord:
    """Return a record with one more row."""
    rows = sorted([*record.rows, row], key=lambda each: (each.bits, RULES.index(each.overflow)))
    return record.model_copy(update={"rows": rows})


def with_proven(record: SweepRecord, widths: Sequence[Width]) -> SweepRecord:
    """Return a record with the rows of widths that another row proves: those as wide, or wider."""
    for bits, rule in widths:
        proof = next((row for row in record.rows if row.exact and row.bits <= bits), None)
        if proof is not None and (bits, rule) not in record.widths:
            record = with_row(record, _copied(proof, bits, rule))
    return record


def _copied(proof: SweepRow, bits: int, rule: Rule) -> SweepRow:
    """Return the row of a register that is as wide as one in which nothing overflowed, or wider."""
    return proof.model_copy(
        update={
            "bits": bits,
            "overflow": rule,
            "graph_sha256": None,
            "same_as": proof.same_as or proof.width,
            "least_headroom_bits": proof.least_headroom_bits + bits - proof.bits,
            "seconds": 0.0,
        }
    )


def rules_agree(record: SweepRecord, bits: int) -> None:
    """Check that both rules count the same overflows in the first op, whose inputs are the same.

    Inputs of later ops are changed by an overflow, by one rule or the other.
    """
    found = {(row.first_persistent, row.first_transient) for row in record.rows if row.bits == bits}
    assert len(found) <= 1, f"{bits} bits: wrap and saturate count other overflows in the first op"


def save_sweep(record: SweepRecord, folder: Path) -> None:
    """Write ``accumulators.json`` into ``folder``."""
    plain = record.model_dump(mode="json")
    # One line for all images: thousands of lines of class numbers are of no use to anybody.
    classes = strict_json.dumps(plain.pop("exact_classes"))
    text = strict_json.dumps({**plain, "exact_classes": []}, indent=1, ensure_ascii=False)
    text = text.removesuffix("[]\n}") + classes + "\n}\n"
    write_text(folder / SWEEP_NAME, text)


def load_sweep(folder: Path) -> SweepRecord | None:
    """Read what :func:`save_sweep` wrote; None where that is missing or something else."""
    try:
        text = read_text(folder / SWEEP_NAME)
        strict_json.loads(text)
        return SweepRecord.model_validate_json(text, strict=True)
    except (InputError, OSError, ValueError):
        return None


def finished_sweep(folder: Path) -> SweepRecord | None:
    """Return the sweep that was published into ``folder``, if its files are as they were written.

    A figure that was changed since would go into every later table without a word.
    """
    entry = load_manifest(folder).results.get(COMMAND)
    return load_sweep(folder) if entry is not None and is_whole(folder, entry) else None
