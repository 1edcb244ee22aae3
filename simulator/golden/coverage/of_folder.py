# SPDX-License-Identifier: Apache-2.0
"""Coverage of the vectors in a golden folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from simulator.golden.coverage.of_op import OpCoverage, unit_coverage
from simulator.golden.directed import STIMULI
from simulator.golden.manifest import Kind, Manifest, OpEntry
from simulator.golden.one_op import of_entry, operands_of_entry
from simulator.golden.variants.trial import Trial
from simulator.graph.ops import OP_TYPES


def folder_coverage(
    folder: Path, manifest: Manifest, on_progress: Callable[[int], None] = lambda units: None
) -> list[OpCoverage]:
    """Return the coverage of every op of a golden folder, of directed vectors by unit.

    Ops that only move codes, and functions in float, have none.

    Raises
    ------
    InputError
        If files are missing or damaged.
    """
    found = []
    for name, entries in units_of(manifest).items():
        trials = [trial_of(manifest, entry, folder) for entry in entries]
        found.append(unit_coverage(name, trials, entries[0].stands_for))
        on_progress(1)
    return found


def units_of(manifest: Manifest) -> dict[str, list[OpEntry]]:
    """Return the entries that have vectors by their units: UNIT.WHAT where they are directed."""
    units: dict[str, list[OpEntry]] = {}
    for entry in manifest.ops:
        if OP_TYPES[entry.op] in STIMULI:
            unit = entry.name.rpartition(".")[0] if manifest.kind is Kind.DIRECTED else entry.name
            units.setdefault(unit, []).append(entry)
    return units


def trial_of(manifest: Manifest, entry: OpEntry, folder: Path) -> Trial:
    """Return an op of a golden folder with its operands."""
    one = of_entry(manifest, entry, folder)
    return Trial.of(one.graph, operands_of_entry(manifest, entry, folder))
