# SPDX-License-Identifier: Apache-2.0
"""Compare our estimates with Vela's: ``python tests/oracles/compare_vela.py``.

Prints a table of cycles, ours over Vela's: of the networks and settings that are recorded, of rows
in another file (columns accelerator, system_config, memory_mode, op_class, op_cycles and, if there
are any, network, arena_cache_size and core), or of one setting. ``--record`` writes Vela's rows to
``tests/oracles/recorded/vela_cycles.csv``. ``--record`` and a single setting run Vela, which
``make oracles`` installs. Ends with 1 where an estimate lies outside its band.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from vela_comparison import (
    RECORDED,
    Comparison,
    our_cycles,
    out_of_order,
    recorded_cycles,
    table,
)
from vela_graphs import graph_for
from vela_network import network_file
from vela_oracle import CLASSES, VelaError, VelaSetting, by_class, vela_rows

from simulator.errors import AocqError
from simulator.graph import IntGraph

COLUMNS = "network,accelerator,system_config,memory_mode,arena_cache_size,op_class,rows,op_cycles"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="deit_tiny_patch16_224", help="a network of timm")
    parser.add_argument("--rows", type=Path, help="a file of Vela's rows")
    parser.add_argument("--record", action="store_true", help="run Vela for all recorded settings")
    setting = parser.add_argument_group("one setting, by Vela's names")
    setting.add_argument("--accelerator", help="ethos-u55-256 …")
    setting.add_argument("--system", help="Ethos_U55_High_End_Embedded …")
    setting.add_argument("--mode", help="Sram_Only, Shared_Sram, Dedicated_Sram_384KB …")
    setting.add_argument("--sram", type=int, help="budget of fast SRAM in bytes")
    return parser.parse_args()


def _with_vela(network: str, setting: VelaSetting, graph: IntGraph) -> dict[str, int]:
    found = by_class(vela_rows(network_file(graph), setting))
    return {name: found[name].op_cycles for name in CLASSES}


def _compared(network: str, settings: list[VelaSetting]) -> list[Comparison]:
    found = []
    for setting in settings:
        graph = graph_for(network, setting.accelerator)
        found.append(
            Comparison(
                network=network,
                setting=setting,
                ours=our_cycles(graph, setting),
                vela=_with_vela(network, setting, graph),
            )
        )
    return found


def _record() -> None:
    lines = []
    for network, setting in recorded_cycles():
        graph = graph_for(network, setting.accelerator)
        for name, sums in by_class(vela_rows(network_file(graph), setting)).items():
            place = [network, setting.accelerator, setting.system_config, setting.memory_mode]
            lines.append([*place, setting.arena_cache_size, name, sums.rows, sums.op_cycles])
    with RECORDED.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS.split(","))
        writer.writerows(lines)


def main() -> None:
    """Print the table, or what stands against it."""
    asked = _arguments()
    if asked.record:
        _record()
    if asked.accelerator:
        setting = VelaSetting(
            accelerator=asked.accelerator,
            system_config=asked.system,
            memory_mode=asked.mode,
            arena_cache_size=asked.sram,
        )
        found = _compared(asked.network, [setting])
    else:
        found = [
            Comparison(
                network=network,
                setting=setting,
                ours=our_cycles(graph_for(network, setting.accelerator), setting),
                vela=cycles,
            )
            for (network, setting), cycles in recorded_cycles(
                asked.rows or RECORDED, asked.network
            ).items()
        ]
    print("\n".join(table(found)))
    told = [
        f"outside its band: {each.network} {each.setting}: {failure}"
        for each in found
        for failure in each.failures()
    ]
    told += [f"not in Vela's order: {a}, {b}" for a, b in out_of_order(found)]
    print("\n".join(told), file=sys.stderr)
    sys.exit(1 if told else 0)


if __name__ == "__main__":
    try:
        main()
    except (AocqError, VelaError) as error:
        sys.exit(f"error: {error}")
