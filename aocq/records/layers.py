# SPDX-License-Identifier: Apache-2.0
"""LayerRow: the record of one op of a run, a row of ``layers.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Annotated

from pydantic import StringConstraints, ValidationError

from aocq.records.fields import Amount, Bits, Count, Decibel, Headroom, Name, Record, first_mistake

SUMS = ("add", "float_add")  # kinds of ops that add two tensors


class LayerRow(Record):
    """One op of the graph, in order: a row of ``layers.csv``.

    arithmetic : ``integer`` or ``float32``
    sqnr_db : result against the float network's same tensor; None where there is no such tensor
    differing_codes : mismatches with fake quantization on equal inputs, per image; None where that
        has no such tensor
    onto_residual : the op adds to the residual stream, whatever its kind; older records mark only
        layers so, and no additions
    accumulator_bits : bits that the sums may need, by static bounds; None without an accumulator
    persistent, transient, changed : see :class:`simulator.ops.behaviour.SumCounts`
    sum_bits : bits that the completed sums of the run needed
    headroom_bits : bits of the outermost register less ``sum_bits``; below 0 where it overflowed
    passes : runs of the chip's units that the op takes, 0 of a view; None in older records
    a_bits, b_bits : of both factors of a product of codes, the right one of a layer being its
        weights; None of other ops and in older records
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
    passes: Count | None = None
    a_bits: Bits | None = None
    b_bits: Bits | None = None


def layers_csv(rows: list[LayerRow]) -> str:
    """Return the text of ``layers.csv``; an empty cell means None."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(LayerRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    return text.getvalue()


def read_layers(text: str) -> list[LayerRow]:
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
        raise ValueError(f"line {line}: {first_mistake(error)}") from error
    if row.index != index:
        raise ValueError(f"line {line}: op number {row.index}, wanted {index}: a line is missing")
    return row
