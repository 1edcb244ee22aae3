# SPDX-License-Identifier: Apache-2.0
"""The report of a run as compact Markdown (GitHub's dialect)."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports.attribution import HEAD as ATTRIBUTION_HEAD
from reports.attribution import attribution_rows, attribution_sentence
from reports.costs import cycle_rows, memory_rows
from reports.format import MISSING, classes, count, decibel, kib, percent, plural, share, signed
from reports.gates import GATE_HEAD, LIFT_HEAD, against, gate_rows, lift_rows
from reports.ops import first_below, most_mismatches, tightest, worst_ops
from reports.tables import (
    ESTIMATED,
    KINDS,
    NOT_MEASURED,
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
    sources,
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
        _verdict(result),
        "\n".join(f"- note: {_plain(note)}" for note in result.notes),
        _table(["", "value"], [(key, _plain(value)) for key, value in summary_rows(result)[:-1]]),
        "## Accuracy",
        _accuracy(result),
        "## Where accuracy is lost",
        _worst(result, rows),
        "## Mismatches with fake quantization",
        _mismatches(result, rows),
        f"## Cycles and memory ({ESTIMATED})",
        NOT_MEASURED,
        _cycles(result),
        KINDS,
        _memory(result),
        _sources(result),
        "## Overflow and saturation",
        _overflow(result, rows),
        _headroom(rows),
        *_registers(result),
        "## How it was made",
        _made(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(result: RunResult) -> str:
    """Return :func:`heading`, what comes from outside as code."""
    model, data = result.model, result.data
    built = f" ({_code(typed(model.arguments))})" if model.arguments else ""
    number = plural(result.accuracy.images, "image")
    judged = f"{number} of {_code(data.name)}, {classes(data.classes)}" if data else number
    return f"{_code(model.name)}{built} on {_code(result.profile.name)}, {judged}"


def _verdict(result: RunResult) -> str:
    lines = [f"**{answer(result)}**: {reason(result)}."]
    reasons = against(result.verdict)
    if reasons:
        lines += ["", *(f"- {_plain(gate)}" for gate in reasons)]
    for head, rows in (
        (GATE_HEAD, gate_rows(result.verdict)),
        (LIFT_HEAD, lift_rows(result.lifts)),
    ):
        if rows:
            lines += ["", _table(head, [[*map(_plain, row)] for row in rows])]
    return "\n".join(lines)


def _accuracy(result: RunResult) -> str:
    accuracy = result.accuracy
    base = accuracy.float
    networks = [
        ("float", base),
        ("fake-quantized", accuracy.simulated),
        ("integer", accuracy.integer),
    ]
    accuracies = _table(
        ["network", "top-1", "against float", "top-5", "against float"],
        [
            (
                name,
                percent(k.top1),
                signed(k.top1 - base.top1),
                percent(k.top5),
                signed(k.top5 - base.top5),
            )
            for name, k in networks
        ],
    )
    compared = _table(["pair", "same class", "logit SQNR"], [row[:3] for row in pairs(result)])
    sources_of_noise = _table(ATTRIBUTION_HEAD, attribution_rows(accuracy))
    return "\n\n".join([accuracies, compared, attribution_sentence(accuracy), sources_of_noise])


def _worst(result: RunResult, rows: Sequence[LayerRow]) -> str:
    worst = worst_ops(rows)
    if not worst:
        return "No op has a float tensor to compare with."
    firsts = [
        f"- first below {level:g} dB: {_code(op.row.op)} ({decibel(op.sqnr_db)})"
        for level, op in first_below(rows)
    ]
    table = _table(
        ["worst ops", "#", "kind", "type", "SQNR", "change from the op before"],
        [
            (
                _code(op.row.op),
                str(op.row.index),
                _code(op.row.kind),
                _code(op.row.type),
                decibel(op.sqnr_db),
                signed(op.change),
            )
            for op in worst
        ],
    )
    of = sampled(result.accuracy.sqnr_images)
    return "\n".join([*firsts, "", f"SQNR of each op's result{of}.", "", table]).lstrip()


def _mismatches(result: RunResult, rows: Sequence[LayerRow]) -> str:
    sentence, most = _plain(mismatch_sentence(result, rows)), most_mismatches(rows)
    if not most:
        return sentence
    table = _table(
        ["op", "#", "kind", "mismatches per image"],
        [
            (_code(row.op), str(row.index), _code(row.kind), f"{row.differing_codes:,.2f}")
            for row in most
        ],
    )
    return f"{sentence}\n\n{table}"


def _cycles(result: RunResult) -> str:
    *kinds, total = cycle_rows(result.cycles)
    return _table(
        ["cycles of one image", "count", "share"],
        [*((_code(kind), number, part) for kind, number, part in kinds), total],
    )


def _memory(result: RunResult) -> str:
    found = memory_rows(result.memory, result.method.weight_bits)
    rows = [(name, kib(size), count(size)) for name, size in found]
    return _table(["memory", "size", "bytes"], rows)


def _sources(result: RunResult) -> str:
    rows = [(_plain(source), ", ".join(map(_plain, names))) for source, names in sources(result)]
    return _table(["source", "values of the profile"], rows)


def _overflow(result: RunResult, rows: Sequence[LayerRow]) -> str:
    shown = result.overflow.per_op[:OVERFLOWS_SHOWN]
    sentence = f"{overflow_sentence(result)}."
    if not shown:
        return f"{sentence} No result left its type."
    apart = told_apart(rows)
    kinds = ["persistent", "transient", "changed", "headroom"] if apart else []
    table = _table(
        ["op", "overflowed", *kinds, "saturated", "elements", "saturated share"],
        [
            (
                _code(op.op),
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
    return f"{sentence}\n\n{table}" + (f"\n\nand {plural(more, 'further op')}." if more else "")


def _headroom(rows: Sequence[LayerRow]) -> str:
    """Return the accumulators with the least room as a table; nothing where none is recorded."""
    found = tightest(rows)
    if not found:
        return ""
    return _table(
        ["least headroom", "#", "bits left", "bits needed", "bits needed at most", "proven free"],
        [
            (
                _code(row.op),
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
        yield _table(
            ["register", "value", "bits needed", "type", "slack", "proven"],
            [(_code(op), *map(_plain, rest)) for op, *rest in found],
        )


def _made(result: RunResult) -> str:
    recipe = json.dumps(result.method.recipe, ensure_ascii=False)
    command = shlex.join(result.command)
    rows = [*identities(result), *facts(result), ("recipe", recipe), ("command", command)]
    return _table(["", "value"], [(_plain(key), _code(value)) for key, value in rows])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    """Return ``text`` as a code span that no content can end, for a cell of a table."""
    text = " ".join(text.split()).replace("|", "\\|") or MISSING
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}"


def _plain(text: str) -> str:
    """Return ``text`` with everything escaped that Markdown or HTML would read as markup."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word is no markup; names are full of them.
    return re.sub(r"([\\`*\[\]|#~$]|(?<!\w)_|_(?!\w))", r"\\\1", text)
