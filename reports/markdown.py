# SPDX-License-Identifier: Apache-2.0
"""The report of a run as compact Markdown (GitHub's dialect)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports.answers import answers
from reports.attribution import attribution_rows, attribution_sentence
from reports.attribution import head as attribution_head
from reports.format import classes, count, decibel, percent, plural, share, signed
from reports.gates import GATE_HEAD, against, gate_rows
from reports.layer_widths import LAYER_HEAD, layer_rows
from reports.markdown_costs import costs
from reports.markdown_text import code, plain, table
from reports.ops import first_below, most_mismatches, tightest, worst_ops
from reports.sources import assumed_sentence, rests_on, sources
from reports.tables import (
    answer,
    facts,
    identities,
    in_accumulator,
    mismatch_sentence,
    optional,
    overflow_sentence,
    pairs,
    proof_sentence,
    reason,
    register_rows,
    sampled,
    summary_rows,
    told_apart,
)
from simulator.settings import typed

OVERFLOWS_SHOWN = 10  # the page shows all


def markdown(result: RunResult, rows: Sequence[LayerRow]) -> str:
    """Return the report as compact Markdown (GitHub's dialect).

    Parameters
    ----------
    result
        the run
    rows
        its ops, in graph order
    """
    parts = [
        f"# {_title(result)}: {answer(result)}",
        _verdict(result, rows),
        "\n".join(f"- note: {plain(note)}" for note in result.notes),
        table(["", "value"], [(key, plain(value)) for key, value in summary_rows(result)[:-1]]),
        "## Accuracy",
        _accuracy(result),
        "## Where accuracy is lost",
        _worst(result, rows),
        "## Mismatches with fake quantization",
        _mismatches(result, rows),
        *costs(result),
        "## Overflow and saturation",
        _overflow(result, rows),
        _headroom(rows),
        *_registers(result),
        "## What is measured, documented or assumed",
        _assumed(result),
        "## How it was made",
        _made(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(result: RunResult) -> str:
    """Return :func:`heading`, what comes from outside as code."""
    model, data = result.model, result.data
    built = f" ({code(typed(model.arguments))})" if model.arguments else ""
    number = plural(result.accuracy.images, "image")
    judged = f"{number} of {code(data.name)}, {classes(data.classes)}" if data else number
    return f"{code(model.name)}{built} on {code(result.profile.name)}, {judged}"


def _verdict(result: RunResult, ops: Sequence[LayerRow]) -> str:
    lines = [f"**{answer(result)}**: {reason(result)}."]
    reasons = against(result.verdict)
    if reasons:
        lines += ["", *(f"- {plain(gate)}" for gate in reasons)]
    gates = gate_rows(result.verdict)
    if gates:
        lines += ["", table(GATE_HEAD, [[*map(plain, row)] for row in gates])]
    lines += ["", *(f"- **{a.question}** {plain(a.text)}" for a in answers(result, ops))]
    return "\n".join(lines)


def _accuracy(result: RunResult) -> str:
    accuracy = result.accuracy
    networks = [
        ("float", accuracy.float),
        ("fake-quantized", accuracy.simulated),
        ("integer", accuracy.integer),
    ]
    accuracies = table(
        ["network", *(cell for s in accuracy.scores for cell in (s.title, "against float"))],
        [
            (
                name,
                *(
                    cell
                    for key, value in scores.items()
                    for cell in (percent(value), signed(value - accuracy.float[key]))
                ),
            )
            for name, scores in networks
        ],
    )
    compared = table(["pair", accuracy.alike, "logit SQNR"], [row[:3] for row in pairs(result)])
    sources_of_noise = table(attribution_head(accuracy), attribution_rows(accuracy))
    return "\n\n".join([accuracies, compared, attribution_sentence(accuracy), sources_of_noise])


def _worst(result: RunResult, rows: Sequence[LayerRow]) -> str:
    worst = worst_ops(rows)
    if not worst:
        return "No op has a float tensor to compare with."
    firsts = [
        f"- first below {level:g} dB: {code(op.row.op)} ({decibel(op.sqnr_db)})"
        for level, op in first_below(rows)
    ]
    found = table(
        ["worst ops", "#", "kind", "type", "SQNR", "change from the op before"],
        [
            (
                code(op.row.op),
                str(op.row.index),
                code(op.row.kind),
                code(op.row.type),
                decibel(op.sqnr_db),
                signed(op.change),
            )
            for op in worst
        ],
    )
    of = sampled(result.accuracy.sqnr_images)
    return "\n".join([*firsts, "", f"SQNR of each op's result{of}.", "", found]).lstrip()


def _mismatches(result: RunResult, rows: Sequence[LayerRow]) -> str:
    sentence, most = plain(mismatch_sentence(result, rows)), most_mismatches(rows)
    if not most:
        return sentence
    found = table(
        ["op", "#", "kind", "mismatches per image"],
        [
            (code(row.op), str(row.index), code(row.kind), f"{row.differing_codes:,.2f}")
            for row in most
        ],
    )
    return f"{sentence}\n\n{found}"


def _assumed(result: RunResult) -> str:
    known = table(
        ["figures rest on", "known", "from"],
        [[plain(cell) for cell in row] for row in rests_on(result)],
    )
    rows = [(plain(source), ", ".join(map(plain, names))) for source, names in sources(result)]
    every = table(["source", "values of the profile"], rows)
    return "\n\n".join([plain(assumed_sentence(result)), known, every])


def _overflow(result: RunResult, rows: Sequence[LayerRow]) -> str:
    shown = result.overflow.per_op[:OVERFLOWS_SHOWN]
    sentence = f"{overflow_sentence(result)}."
    if not shown:
        return f"{sentence} No result left its type."
    apart = told_apart(rows)
    kinds = ["persistent", "transient", "changed", "headroom"] if apart else []
    found = table(
        ["op", "overflowed", *kinds, "saturated", "elements", "saturated share"],
        [
            (
                code(op.op),
                count(op.overflowed),
                *(in_accumulator(op.op, rows) if apart else ()),
                count(op.saturated),
                count(op.elements),
                share(op.saturated, op.elements),
            )
            for op in shown
        ],
    )
    more = len(result.overflow.per_op) - len(shown)
    return f"{sentence}\n\n{found}" + (f"\n\nand {plural(more, 'further op')}." if more else "")


def _headroom(rows: Sequence[LayerRow]) -> str:
    """Return the accumulators with the least room as a table; nothing where none is recorded."""
    found = tightest(rows)
    if not found:
        return ""
    return table(
        ["least headroom", "#", "bits left", "bits needed", "bits needed at most", "proven free"],
        [
            (
                code(row.op),
                str(row.index),
                optional(row.headroom_bits),
                optional(row.sum_bits),
                optional(row.accumulator_bits),
                "yes" if row.proven_free else "no",
            )
            for row in found
        ],
    )


def _registers(result: RunResult) -> Iterator[str]:
    """Yield the section of what is proven; nothing of older records."""
    if result.proof is None:
        return
    yield "## Registers"
    yield f"{proof_sentence(result.proof)}."
    found = register_rows(result.proof)
    if found:
        yield table(
            ["register", "value", "bits needed", "type", "slack", "proven"],
            [(code(op), *map(plain, rest)) for op, *rest in found],
        )


def _made(result: RunResult) -> str:
    recipe = json.dumps(result.method.recipe, ensure_ascii=False)
    command = shlex.join(result.command)
    rows = [*identities(result), *facts(result), ("recipe", recipe), ("command", command)]
    made = table(["", "value"], [(plain(key), code(value)) for key, value in rows])
    layers = [(code(op), *bits) for op, *bits in layer_rows(result.method)]
    return "\n\n".join([made, table(LAYER_HEAD, layers)] if layers else [made])
