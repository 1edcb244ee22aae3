# SPDX-License-Identifier: Apache-2.0
"""Our estimates beside Vela's, class by class of ops; the bands that they are held to."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vela_oracle import CLASSES, VelaSetting
from vela_settings import profile_of

from simulator.cost import estimate
from simulator.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import Concat, MatMul, Reshape, Slice, Transpose, op_name

RECORDED = Path(__file__).parent / "recorded" / "vela_cycles.csv"
SHARE = 0.05  # of a total: classes below it are not held to a band
CLASS_BAND = 1.5
TOTAL_BAND = 1.3
RANKED = 1.1


def class_of(graph: IntGraph, op: Op) -> str:
    """Return the class of :data:`vela_oracle.CLASSES` that an op belongs to."""
    if isinstance(op, MatMul):
        return "fully_connected" if graph.is_constant(op.b) else "batch_matmul"
    if op_name(op).startswith("softmax"):
        return "softmax"
    if isinstance(op, Concat | Slice | Reshape | Transpose):
        return "layout"
    return "layernorm_add_mul_gelu"


def our_cycles(graph: IntGraph, setting: VelaSetting) -> dict[str, int]:
    """Return our estimate of every class of :data:`vela_oracle.CLASSES`."""
    ops = {op.name: op for op in graph.ops}
    cycles = dict.fromkeys(CLASSES, 0)
    for cost in estimate(graph, profile_of(setting)).ops:
        cycles[class_of(graph, ops[cost.name])] += cost.total
    return cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Cycles of a network in one setting, ours and Vela's, by class."""

    network: str
    setting: VelaSetting
    ours: Mapping[str, int]
    vela: Mapping[str, int]

    @property
    def ratio(self) -> float:
        """Our total over Vela's."""
        return sum(self.ours.values()) / sum(self.vela.values())

    def ratio_of(self, name: str) -> float:
        """Our cycles of a class over Vela's."""
        return self.ours[name] / self.vela[name]

    def weighty(self) -> list[str]:
        """Return the classes that have more than :data:`SHARE` of Vela's total."""
        total = sum(self.vela.values())
        return [name for name in CLASSES if self.vela[name] > SHARE * total]

    def failures(self) -> list[str]:
        """Return the total and the classes that lie outside their bands."""
        found = [] if _within(self.ratio, TOTAL_BAND) else [f"total {self.ratio:.2f}"]
        for name in self.weighty():
            if not _within(self.ratio_of(name), CLASS_BAND):
                found.append(f"{name} {self.ratio_of(name):.2f}")
        return found


def _within(ratio: float, band: float) -> bool:
    return 1 / band <= ratio <= band


def recorded_cycles(
    path: Path = RECORDED, network: str = ""
) -> dict[tuple[str, VelaSetting], dict[str, int]]:
    """Return Vela's cycles by class, of every network and setting of a recorded file.

    Where it has no column ``network``, all rows are of ``network``; rows of Vela's legacy core,
    which leaves operators without cycles, are left out (column ``core``).
    """
    found: dict[tuple[str, VelaSetting], dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row.get("core", "regor") != "regor":
                continue
            budget = row.get("arena_cache_size")
            setting = VelaSetting(
                accelerator=row["accelerator"],
                system_config=row["system_config"],
                memory_mode=row["memory_mode"],
                arena_cache_size=int(budget) if budget else None,
            )
            key = (row.get("network", network), setting)
            cycles = found.setdefault(key, dict.fromkeys(CLASSES, 0))
            cycles[row["op_class"]] += int(row["op_cycles"])
    return found


def out_of_order(comparisons: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Return the pairs of settings of a network of which the slower one is the faster by us.

    Pairs that Vela tells apart by less than :data:`RANKED` are not compared.
    """
    found = []
    for a, b in itertools.permutations(comparisons, 2):
        slower = sum(b.vela.values()) > RANKED * sum(a.vela.values())
        if a.network == b.network and slower and sum(b.ours.values()) < sum(a.ours.values()):
            found.append((str(a.setting), str(b.setting)))
    return found


def table(comparisons: Iterable[Comparison]) -> list[str]:
    """Return the lines of a table in Markdown: M cycles, ours over Vela's in brackets."""
    lines = ["| network | setting | total | " + " | ".join(CLASSES) + " |"]
    lines.append("|---|---|" + "---:|" * (len(CLASSES) + 1))
    for each in comparisons:
        cells = [_cell(sum(each.ours.values()), sum(each.vela.values()))]
        cells += [_cell(each.ours[name], each.vela[name]) for name in CLASSES]
        lines.append(f"| {each.network} | {each.setting} | " + " | ".join(cells) + " |")
    return lines


def _cell(ours: int, vela: int) -> str:
    return f"{ours / 1e6:.2f} / {vela / 1e6:.2f} ({ours / vela:.2f})" if vela else "-"
