# SPDX-License-Identifier: Apache-2.0
"""The costs of a run as Markdown: latency and where it goes, memory, energy. All ESTIMATED."""

from __future__ import annotations

from collections.abc import Iterator

from aocq.records.run import RunResult
from reports.answers import against_float16, energy_sentence, ports
from reports.costs import HOST_HEAD, cycle_rows, host_rows, host_sentence, memory_rows
from reports.format import MISSING, count, kib, percent
from reports.layer_widths import parameters_at
from reports.limits import (
    ENERGY_PARTS,
    LIFT_HEAD,
    fit_sentence,
    lift_rows,
    lift_sentence,
    limit_sentence,
    peak_buffers,
    peak_sentence,
)
from reports.markdown_text import code, plain, table
from reports.tables import ESTIMATED, KINDS, NOT_MEASURED

# Of which figures a caveat of the profile is, by section.
_OF_LATENCY = ("latency", "linear", "matmul", "softmax", "layernorm", "layout")


def costs(result: RunResult) -> Iterator[str]:
    """Yield the sections of costs, a paragraph or a table each."""
    yield f"## Latency and where it goes ({ESTIMATED})"
    yield NOT_MEASURED
    yield from caveats(result, _OF_LATENCY)
    yield plain(f"{limit_sentence(result)} {lift_sentence(result)}")
    if host_sentence(result.cycles):
        yield plain(host_sentence(result.cycles))
    *kinds, total = cycle_rows(result.cycles)
    yield table(
        ["cycles of one image", "count", "share"],
        [*((code(kind), number, part) for kind, number, part in kinds), total],
    )
    yield KINDS
    yield from _more(result)
    yield f"## Memory ({ESTIMATED})"
    yield from caveats(result, ("memory",))
    yield plain(f"{fit_sentence(result)} {peak_sentence(result)}")
    yield from _memory(result)
    yield f"## Energy ({ESTIMATED})"
    yield from caveats(result, ("energy",))
    yield plain(energy_sentence(result))
    yield from _energy(result)


def caveats(result: RunResult, about: tuple[str, ...]) -> Iterator[str]:
    """Yield what the profile says beside figures, a paragraph each."""
    for caveat in result.caveats:
        if caveat.about in about:
            yield f"Caveat, {plain(caveat.about)}: {plain(caveat.text)}"


def _more(result: RunResult) -> Iterator[str]:
    """Yield the host's steps, ports, lifts and float16; nothing of older records."""
    heads = ("port", "KiB of one image", "cycles", "share of all", "bytes per cycle", "burst")
    for head, rows in (
        (HOST_HEAD, host_rows(result.cycles)),
        ((*heads, "latency"), ports(result)),
        (LIFT_HEAD, lift_rows(result.lifts, result.profile.clock_mhz, result.latency_ms)),
        (("one image", "integers", "float16", "float16 takes"), against_float16(result)),
    ):
        if rows:
            yield table(head, [[plain(cell) for cell in row] for row in rows])


def _memory(result: RunResult) -> Iterator[str]:
    found = peak_buffers(result)
    if found:
        yield table(
            ["at the peak", "written by", "type", "for", "size", "bytes"],
            [
                (code(b.name), code(b.op), code(b.type), b.storage, kib(b.bytes), count(b.bytes))
                for b in found
            ],
        )
    sizes = memory_rows(result.memory, parameters_at(result))
    yield table(
        ["memory", "size", "bytes"], [(name, kib(size), count(size)) for name, size in sizes]
    )


def _energy(result: RunResult) -> Iterator[str]:
    energy = result.energy_record
    if energy is None:
        return
    whole = energy.total_mj
    rows = [
        (
            plain(ENERGY_PARTS.get(part, part)),
            f"{spent:,.4g}",
            percent(100 * spent / whole) if whole else MISSING,
        )
        for part, spent in energy.parts.items()
    ]
    yield table(["spent by", "mJ of one image", "share"], rows)
    yield f"Source of the picojoules: {plain(energy.source)}."
