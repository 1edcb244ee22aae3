# SPDX-License-Identifier: Apache-2.0
"""The contents of a report as rows of text, for every form of it; the short table after a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aocq.records import verdict
from aocq.records.accuracy import FEW_IMAGES
from aocq.records.layers import LayerRow
from aocq.records.run import Emulation, ProofRecord, RunResult
from reports import gates, layer_widths
from reports.costs import host_sentence
from reports.format import (
    MISSING,
    NO_NOISE,
    classes,
    convention,
    count,
    decibel,
    evaluated,
    kib,
    named,
    percent,
    plural,
    policy_note,
    signed,
)
from reports.limits import limit_sentence
from reports.ops import most_mismatches
from simulator.settings import typed

ESTIMATED = "ESTIMATED"
# Where integer and fake-quantized networks agree on fewer images, in percent, ops are to blame.
ENOUGH_AGREEMENT = 98.0
NAMED = 3  # ops in a sentence
REGISTERS_SHOWN = 12  # all those that are not proven, too

NOT_MEASURED = (
    "Cycles, latency and memory are ESTIMATED by an analytic model of the profile, "
    "not measured on a chip."
)

KINDS = (
    "Kinds are the names of ops in the integer graph. A matmul with weights is what the profile "
    'calls linear, one of two activations its matmul; docs/profiles.md, "Names of ops", has the '
    "profile's tables for each kind."
)


def answer(result: RunResult) -> str:
    """Return the verdict's one word: YES, NO or UNDECIDED."""
    return verdict.answer(result.verdict)


def reason(result: RunResult) -> str:
    """Return the verdict's one sentence."""
    number = result.accuracy.images
    few = f" (on {plural(number, 'image')}: one is {100 / number:.2f} points)"
    by_interval = any(found.by == "interval" for found in result.verdict.results)
    passed = result.verdict.feasible and not by_interval and result.accuracy.by_image
    return gates.why(result.verdict) + few * (passed and number < FEW_IMAGES)


def judged_group(result: RunResult) -> str:
    """Return what was judged as the class of a CI server's test cases: ``NETWORK on CHIP``."""
    return f"{named(result.model.name, result.model.arguments)} on {result.profile.name}"


def scheme(result: RunResult) -> str:
    """Return the method and its widths: ``aocq W4A8``, ``aocq W4A8 mixed``."""
    return f"{result.method.name} {layer_widths.widths(result.method)}"


def heading(result: RunResult) -> str:
    """Return network, chip and images of a run as its heading."""
    return f"{judged_group(result)}, {evaluated(result.accuracy.images, result.data)}"


def summary_rows(result: RunResult) -> list[tuple[str, str]]:
    """Return the short table that is printed after a run, as (what, value) pairs."""
    return [
        ("model", result.model.name),
        *_argument_rows(result),
        ("method", scheme(result)),
        *_width_rows(result),
        ("profile", result.profile.name),
        *_data_rows(result),
        *_accuracy_rows(result),
        *_cost_rows(result),
        (
            "verdict",
            "; ".join([f"{answer(result)}: {reason(result)}", *gates.against(result.verdict)]),
        ),
    ]


def _argument_rows(result: RunResult) -> list[tuple[str, str]]:
    """Return the constructor's arguments that are not those of the name; no row without any."""
    arguments = result.model.arguments
    return [("built with", typed(arguments))] if arguments else []


def _width_rows(result: RunResult) -> list[tuple[str, str]]:
    """Return the widths behind a scheme; no row for an older record."""
    widths, rules = result.method.widths, layer_widths.rules(result.method)
    return [
        *([] if widths is None else [("widths", convention(widths))]),
        *([("layers", rules)] if rules else []),
    ]


def _data_rows(result: RunResult) -> list[tuple[str, str]]:
    """Return the images that a run was judged on; no row for an older record."""
    data = result.data
    return [("data", f"{data.name}, {classes(data.classes)}")] if data else []


def _accuracy_rows(result: RunResult) -> list[tuple[str, str]]:
    accuracy = result.accuracy
    score, change = accuracy.main.title, signed(-accuracy.drop)
    return [
        ("images", images(result)),
        (f"float {score}", percent(accuracy.score("float"))),
        (f"fake-quantized {score}", percent(accuracy.score("simulated"))),
        (f"integer {score}", f"{percent(accuracy.score('integer'))} ({change} points)"),
        ("agreement with float", percent(accuracy.agreement.integer_float)),
        ("agreement with fake-quantized", percent(accuracy.agreement.integer_simulated)),
        ("logit SQNR", decibel(accuracy.logit_sqnr_db.integer_float, NO_NOISE)),
    ]


def _cost_rows(result: RunResult) -> list[tuple[str, str]]:
    memory = result.memory
    available = f"of {kib(memory.sram_bytes)}, lower bound {kib(memory.peak_lower_bound_bytes)}"
    return [
        ("float ops", f"{count(result.graph.float_ops)} of {count(result.graph.ops)}"),
        ("overflow", overflow_sentence(result)),
        (f"peak SRAM {ESTIMATED}", f"{kib(memory.peak_sram_bytes)} ({available})"),
        (f"cycles {ESTIMATED}", count(result.cycles.total)),
        (f"latency {ESTIMATED}", f"{result.latency_ms:,.3f} ms"),
        *_host_rows(result),
        (f"fps {ESTIMATED}", f"{result.fps:,.2f}"),
        (f"limit {ESTIMATED}", limit_sentence(result)),
        *_energy_rows(result),
    ]


def _host_rows(result: RunResult) -> list[tuple[str, str]]:
    """Return what the host does behind the graph; no row where it does nothing."""
    text = host_sentence(result.cycles)
    return [(f"host {ESTIMATED}", text)] if text else []


def _energy_rows(result: RunResult) -> list[tuple[str, str]]:
    """Return the energy of an image; no row where the profile has no table of it."""
    energy = result.energy_record
    return [] if energy is None else [(f"energy {ESTIMATED}", f"{energy.total_mj:,.4g} mJ")]


def overflow_sentence(result: RunResult) -> str:
    """Return overflow events, their policy and the three sorts of accumulators in one line."""
    overflow = result.overflow
    events = plural(overflow.events, "event")
    if overflow.events and overflow.persistent is not None and overflow.transient is not None:
        events += (
            f" ({count(overflow.persistent)} persistent, {count(overflow.transient)} transient)"
        )
    if overflow.events and (note := policy_note(overflow.policy)):
        events += f"; {note}"
    return (
        f"{events}; accumulators: "
        f"{count(overflow.proven_free)} proven free, "
        f"{count(overflow.counted_free)} with none observed, "
        f"{count(overflow.overflowing)} overflowing"
    )


def proof_sentence(proof: ProofRecord) -> str:
    """Return how many values no input can drive out of their registers."""
    sums = [found for found in proof.registers if found.value == "accumulator"]
    proven = sum(found.proven for found in sums)
    return (
        f"Static bounds, whatever the input: {count(proven)} of "
        f"{plural(len(sums), 'level')} of accumulators proven free of overflow, "
        f"{count(proof.proven)} of {plural(proof.values, 'value')} inside ops, those in the "
        "emulator's 64 bits included"
    )


def register_rows(proof: ProofRecord) -> list[tuple[str, ...]]:
    """Return the stated registers with the least slack: op, value, needs, register, slack, proven.

    Those that are not proven come first, all of them.
    """
    order = sorted(proof.registers, key=lambda found: (found.proven, found.slack_bits))
    shown = max(REGISTERS_SHOWN, sum(not found.proven for found in order))
    return [
        (
            found.op,
            found.value if found.level is None else f"{found.value} level {found.level}",
            count(found.needed_bits),
            found.type,
            str(found.slack_bits),
            "yes" if found.proven else "no",
        )
        for found in order[:shown]
    ]


def images(result: RunResult) -> str:
    """Return how many images were run: ``400 images (2 skipped)``."""
    skipped = len(result.accuracy.skipped_images)
    note = f" ({count(skipped)} skipped)" if skipped else ""
    return plural(result.accuracy.images, "image") + note


def pairs(result: RunResult) -> list[tuple[str, str, str, float | None]]:
    """Return how each two networks compare: (pair, agreement, logit SQNR, the same as a number)."""
    agreement, sqnr = result.accuracy.agreement, result.accuracy.logit_sqnr_db
    found = [
        ("integer : float", percent(agreement.integer_float), sqnr.integer_float),
        ("fake-quantized : float", MISSING, sqnr.simulated_float),
        ("integer : fake-quantized", percent(agreement.integer_simulated), sqnr.integer_simulated),
    ]
    return [(pair, same, decibel(value, NO_NOISE), value) for pair, same, value in found]


def sampled(number: int | None) -> str:
    """Return on how many images a figure was found, to end a clause; empty in older records."""
    return "" if number is None else f", on {plural(number, 'image')}"


def mismatch_sentence(result: RunResult, rows: Sequence[LayerRow]) -> str:
    """Return agreement and mismatches of integers with fake quantization, and the ops with most."""
    agreed = result.accuracy.agreement.integer_simulated
    of_what = result.accuracy.shares_of
    ops = most_mismatches(rows, NAMED)
    where = sampled(result.accuracy.differing_images)
    if not ops:
        return (
            f"Integer and fake-quantized networks agree on {percent(agreed)} of the {of_what}; "
            f"on equal inputs no op has a mismatch{where}."
        )
    names = ", ".join(f"{row.op} ({row.differing_codes:,.2f})" for row in ops)
    verb = "Responsible are" if agreed < ENOUGH_AGREEMENT else "Most of them come from"
    total = sum(row.differing_codes or 0.0 for row in rows)
    return (
        f"Integer and fake-quantized networks agree on {percent(agreed)} of the {of_what}. On "
        f"equal inputs there are {total:,.2f} mismatches per image{where}. {verb} {names}."
    )


def told_apart(rows: Iterable[LayerRow]) -> bool:
    """Return whether the record tells persistent from transient overflow; older ones do not."""
    return any(row.persistent is not None for row in rows)


def in_accumulator(op: str, rows: Iterable[LayerRow]) -> list[str]:
    """Return an op's persistent, transient and changed sums and its headroom, as text."""
    row = next((row for row in rows if row.op == op), None)
    if row is None:
        return [MISSING] * 4
    return [
        *(optional(value) for value in (row.persistent, row.transient, row.changed)),
        optional(row.headroom_bits),
    ]


def optional(value: int | None) -> str:
    """Write a whole number, or a dash for None."""
    return MISSING if value is None else count(value)


def identities(result: RunResult) -> list[tuple[str, str]]:
    """Return the hashes that identify what was run."""
    return [
        ("graph sha256", result.graph.sha256),
        ("profile sha256", result.profile.sha256),
        ("checkpoint sha256", result.model.checkpoint_sha256 or MISSING),
        *([("images sha256", result.data.digest)] if result.data else []),
    ]


def facts(result: RunResult) -> list[tuple[str, str]]:
    """Return seed, times, threads, products and versions of a run, as (what, value) pairs."""
    method, emulation, preprocessing = result.method, result.emulation, result.model.preprocessing
    return [
        *([("preprocessing", typed(preprocessing))] if preprocessing else []),
        ("seed", str(result.seed)),
        ("calibration images", count(method.calibration_images)),
        ("quantization", f"{method.seconds:,.2f} s"),
        ("emulation", f"{emulation.seconds:,.2f} s, {emulation.images_per_second:,.2f} images/s"),
        ("threads", count(emulation.threads)),
        ("GEMM backend", emulation.gemm_backend),
        *[(f"GEMM {name}", found) for name, found in emulation.gemm_probe.items()],
        *_products(emulation),
        *_in_order(emulation),
        *sorted(result.versions.items()),
    ]


def _products(emulation: Emulation) -> list[tuple[str, str]]:
    """Return which backend ran which products, and why; nothing in older records."""
    found = []
    for product in emulation.products:
        rates = ", ".join(
            f"{name} {'at most ' if name in product.at_most else ''}{gops:.0f}"
            for name, gops in product.gops.items()
        )
        measured = f" ({rates} Gop/s on one core)" if rates else ""
        ops = f"{len(product.ops)} op{'s' * (len(product.ops) > 1)}"
        text = f"{product.backend}, {ops}: {product.reason}{measured}"
        found.append((f"products: {product.product_class or 'others'}", text))
    return found


def _in_order(emulation: Emulation) -> list[tuple[str, str]]:
    """Return how many sums were accumulated in order; nothing in older records."""
    if emulation.walked is None or not emulation.sums:
        return []
    part = emulation.walked / emulation.sums
    text = f"{count(emulation.walked)} of {count(emulation.sums)} ({part:.2%})"
    return [("sums accumulated in order", text)]
