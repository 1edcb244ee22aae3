# SPDX-License-Identifier: Apache-2.0
"""What limits a run, what fills its SRAM, and what more of one resource would give, as sentences.

All of it is ESTIMATED: the figures are those of the run's record.
"""

from __future__ import annotations

from collections.abc import Sequence

from aocq.records.costs import BufferRecord, CyclesRecord, LiftRecord
from aocq.records.run import RunResult
from aocq.records.verdict import Verdict
from reports.format import MISSING, kib, signed
from reports.gates import gate_name
from reports.memory_plan import fit, fullest, peak_in_words

_NO_LIFT = (
    "No lift is recorded: more of one resource alone does not help, or the run's graph is not "
    "at hand."
)
# Gates that more of a resource may meet, and gates on what the network needs of any chip.
_LIFTED_GATES = ("fits_sram", "max_latency_ms", "min_fps", "max_dram_bytes")
_OF_THE_NETWORK = ("max_sram_bytes", "max_energy_mj")
LIFT_HEAD = ("more of", "has", "with", "meets gate", "latency", "change", "peak SRAM")

ENERGY_PARTS = {
    "mac": "multiply-accumulates",
    "vector": "vector unit",
    "sram": "SRAM",
    "dram": "DRAM",
    "leakage": "leakage",
}
# What may limit an op, by the record's word.
RESOURCES = {
    "compute": "the MAC array",
    "vector": "the vector unit",
    "host": "the host",
    "sram": "the SRAM port",
    "dma": "the DRAM port",
    "issue": "the issue of ops",
}
# More of which resource lifts a limit.
_LIFTS = {
    "compute": "macs_per_cycle",
    "vector": "lanes",
    "host": "host_speed",
    "sram": "sram_bytes_per_cycle",
    "dma": "dram_bytes_per_cycle",
}
# What there could be more of, by the record's word: its name, and the unit of a number of it.
LIFTED = {
    "sram_bytes": ("SRAM", ""),
    "sram_bytes_per_cycle": ("SRAM bandwidth", ""),
    "dram_bytes_per_cycle": ("DRAM bandwidth", ""),
    "macs_per_cycle": ("multipliers", " MACs per cycle"),
    "lanes": ("vector lanes", " lanes"),
    "host_speed": ("host speed", " times"),
    "clock_mhz": ("clock", " MHz"),
}


def limiting(cycles: CyclesRecord) -> tuple[str, float]:
    """Return the resource whose ops take most of the cycles, and their share in percent."""
    bounds = cycles.bound_by
    if not bounds or not cycles.total:
        return "", 0.0
    name = max(sorted(bounds), key=lambda each: bounds[each])
    return name, 100 * bounds[name] / cycles.total


def limit_sentence(result: RunResult) -> str:
    """Return what limits the time: ``The DRAM port, 66 % of cycles; at 3.2 GB/s 4.200 ms``."""
    name, part = limiting(result.cycles)
    if not name:
        return "No op takes a cycle."
    who = RESOURCES.get(name, name)
    rate = _rate(result, name)
    return f"{capital(who)}, {part:.0f} % of cycles; {f'at {rate} ' * bool(rate)}{_ms(result)}."


def _rate(result: RunResult, name: str) -> str:
    """Return how much of a limiting resource there is; empty where the record does not say."""
    port = result.ports.get({"dma": "dram"}.get(name, name))
    if port is not None and port.bytes_per_cycle:
        return gigabytes(port.bytes_per_cycle, result.profile.clock_mhz)
    macs, lanes = result.profile.macs_per_cycle, result.profile.lanes
    if name == "compute" and macs is not None:
        return amount("macs_per_cycle", macs, result.profile.clock_mhz)
    return (
        amount("lanes", lanes, result.profile.clock_mhz)
        if name == "vector" and lanes is not None
        else ""
    )


def gigabytes(bytes_per_cycle: float, clock_mhz: float) -> str:
    """Write a bandwidth: ``3.2 GB/s``, of 10^9 bytes."""
    return f"{bytes_per_cycle * clock_mhz / 1000:.3g} GB/s"


def amount(resource: str, value: float, clock_mhz: float) -> str:
    """Write so much of a resource with its unit: ``384.00 KiB``, ``3.2 GB/s``, ``16 lanes``."""
    if resource == "sram_bytes":
        return kib(round(value))
    if resource.endswith("bytes_per_cycle"):
        return gigabytes(value, clock_mhz)
    return f"{value:,.6g}{LIFTED.get(resource, ('', ''))[1]}"


def lift_rows(
    lifts: Sequence[LiftRecord], clock_mhz: float, latency_ms: float
) -> list[tuple[str, ...]]:
    """Return what more of each resource gives, as cells below :data:`LIFT_HEAD`.

    Those that meet a gate come first, then those that gain most.

    Parameters
    ----------
    clock_mhz, latency_ms
        of the profile, and of one image without the lift
    """
    return [
        (
            LIFTED.get(lift.resource, (lift.resource.replace("_", " "), ""))[0],
            amount(lift.resource, lift.have, clock_mhz),
            amount(lift.resource, lift.need, clock_mhz),
            MISSING if lift.gate is None else gate_name(lift.gate),
            f"{lift.latency_ms:,.3f} ms",
            _change(lift.latency_ms, latency_ms),
            kib(lift.peak_sram_bytes),
        )
        for lift in sorted(lifts, key=lambda lift: (lift.gate is None, lift.latency_ms))
    ]


def unmet_sentence(verdict: Verdict, lifts: Sequence[LiftRecord]) -> str:
    """Return which failed gates on costs more of one resource alone does not meet; else nothing."""
    met = {lift.gate for lift in lifts}
    failed = [gate.name for gate in verdict.results if gate.outcome == "fail"]
    unmet = [name for name in failed if name in _LIFTED_GATES and name not in met]
    own = [name for name in failed if name in _OF_THE_NETWORK]
    told = []
    if unmet:
        names = " and ".join(map(gate_name, unmet))
        told.append(f"No single resource meets, were there 64 times as much of it: {names}.")
    if own:
        names = " and ".join(map(gate_name, own))
        told.append(
            f"No larger chip meets: {names}. Narrower codes, another network or a smaller image do."
        )
    return " ".join(told)


def lift_sentence(result: RunResult) -> str:
    """Return what would lift the limit; what meets the gates that failed, where one did.

    Empty of an older record, which does not say.
    """
    unmet = unmet_sentence(result.verdict, result.lifts)
    return f"{_lifted(result)} {unmet}".strip()


def _lifted(result: RunResult) -> str:
    if not result.lifts:
        known = result.float16 is not None  # recorded since lifts are
        return _NO_LIFT * known
    limits = _LIFTS.get(limiting(result.cycles)[0])
    gates = dict.fromkeys(lift.gate for lift in result.lifts if lift.gate is not None)
    if gates:
        meeting = [
            # The least more, and of as much more that of what limits it.
            min(
                (lift for lift in result.lifts if lift.gate == gate),
                key=lambda lift: (lift.need / (lift.have or 1), lift.resource != limits),
            )
            for gate in gates
        ]
        return " ".join(
            f"With {_instead(lift, result)} this gate would pass: {gate_name(lift.gate or '')} "
            f"({lift.latency_ms:,.3f} ms, peak SRAM {kib(lift.peak_sram_bytes)})."
            for lift in meeting
        )
    gaining = [lift for lift in result.lifts if lift.latency_ms < result.latency_ms]
    if not gaining:
        return "Twice as much of any one resource makes it no faster."
    # More of what limits it says more than a faster clock, which always helps.
    best = min(gaining, key=lambda lift: (lift.resource != limits, lift.latency_ms))
    return (
        f"With {_instead(best, result)} it would take {best.latency_ms:,.3f} ms "
        f"({_change(best.latency_ms, result.latency_ms)})."
    )


def times(more: float, less: float) -> str:
    """Write a ratio: ``3.91 times``."""
    return f"{more / less:.3g} times"


def peak_sentence(result: RunResult) -> str:
    """Return during which op the SRAM is fullest, and with what; empty in older records."""
    return peak_in_words(result.peak, result.buffers)


def fit_sentence(result: RunResult) -> str:
    """Return whether activations fit the SRAM, and by how much they do or do not."""
    return fit(result.memory)


def peak_buffers(result: RunResult) -> list[BufferRecord]:
    """Return the buffers that fill the SRAM at its fullest, largest first."""
    return fullest(result.peak, result.buffers)


def capital(text: str) -> str:
    """Return text with a capital at its beginning; ``mIoU`` and other names with one stay."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first == first.lower() else text


def _ms(result: RunResult) -> str:
    return f"{result.latency_ms:,.3f} ms"


def _change(now: float, before: float) -> str:
    """Return a change in percent: ``-25.00 %``."""
    return f"{signed(100 * (now / before - 1))} %" if before else "none"


def _instead(lift: LiftRecord, result: RunResult) -> str:
    """Return what there would be, and what there is: ``512 MACs per cycle instead of 256``.

    A host's speed has no unit: it is told as a multiple of what it is.
    """
    name, unit = LIFTED.get(lift.resource, (lift.resource, ""))
    need, have = (
        amount(lift.resource, value, result.profile.clock_mhz) for value in (lift.need, lift.have)
    )
    if lift.resource == "host_speed":
        return f"{need} the {name}"
    if unit:
        return f"{need} instead of {have.removesuffix(unit)}"
    return f"{need} of {name} instead of {have}"
