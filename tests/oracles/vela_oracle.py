# SPDX-License-Identifier: Apache-2.0
"""Arm's compiler Vela: its estimate of cycles for a .tflite network, operator by operator.

Vela 5.2.0 prints estimates of its own, not measurements. The rows are those of its file
``*_per-layer.csv``; an operator of the network is many rows where Vela takes it apart.
"""

from __future__ import annotations

import csv
import io
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import environments

CLASSES = ("fully_connected", "batch_matmul", "softmax", "layernorm_add_mul_gelu", "layout")
_MOVING = frozenset({"Transpose", "Concat", "Slice", "Reshape", "StridedSlice"})
_TIMEOUT = 600  # seconds; DeiT-Tiny takes four
_MEMORIES = {"SRAM AC": "sram", "DRAM AC": "dram", "OnFlash AC": "flash", "OffFlash AC": "flash"}


class VelaError(Exception):
    """Vela refused a network, or left operators of it to a CPU that it does not cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VelaSetting:
    """A chip in a system, by Vela's names: ``Arm/vela.ini`` in its package describes them.

    ``arena_cache_size`` is the budget of fast SRAM in bytes, None for the memory mode's own.
    """

    accelerator: str
    system_config: str
    memory_mode: str
    arena_cache_size: int | None = None

    def options(self) -> list[str]:
        """Return the options of Vela's command line."""
        options = ["--accelerator-config", self.accelerator, "--config", "Arm/vela.ini"]
        options += ["--system-config", self.system_config, "--memory-mode", self.memory_mode]
        if self.arena_cache_size is not None:
            options += ["--arena-cache-size", str(self.arena_cache_size)]
        return options

    def __str__(self) -> str:
        budget = "" if self.arena_cache_size is None else f" {self.arena_cache_size}"
        return f"{self.accelerator} {self.system_config} {self.memory_mode}{budget}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VelaRow:
    """One operation of the chip.

    Attributes
    ----------
    source
        the network's operator that it comes of, e.g. ``Softmax``
    operation
        what the chip does: ``MaxPool``, ``Sub``, ``MatMul`` …
    name
        of its result
    op_cycles, npu_cycles
        in all, and of the chip alone; ``op_cycles`` is the larger of the chip's and every memory's
    memory_cycles
        of each memory's port
    macs
        multiply-accumulate operations
    """

    source: str
    operation: str
    name: str
    op_cycles: int
    npu_cycles: int
    macs: int
    memory_cycles: Mapping[str, int]

    @property
    def operator_class(self) -> str:
        """The row's class, one of :data:`CLASSES`: rows that only move codes are ``layout``."""
        if self.source in {"FullyConnected", "Conv2D"}:
            return "fully_connected"
        if self.source == "Softmax":
            return "softmax"
        if self.operation == "MatMul":
            return "batch_matmul"
        if self.source in _MOVING or self.source == "BatchMatMul":
            return "layout"
        return "layernorm_add_mul_gelu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCycles:
    """Sums over the rows of one class."""

    rows: int = 0
    op_cycles: int = 0
    npu_cycles: int = 0
    macs: int = 0

    def with_row(self, row: VelaRow) -> Self:
        """Return the sums with one row more."""
        return type(self)(
            rows=self.rows + 1,
            op_cycles=self.op_cycles + row.op_cycles,
            npu_cycles=self.npu_cycles + row.npu_cycles,
            macs=self.macs + row.macs,
        )


def by_class(rows: Iterable[VelaRow]) -> dict[str, ClassCycles]:
    """Return the sums of every class of :data:`CLASSES`."""
    found = {name: ClassCycles() for name in CLASSES}
    for row in rows:
        found[row.operator_class] = found[row.operator_class].with_row(row)
    return found


def vela_rows(network: bytes, setting: VelaSetting) -> list[VelaRow]:
    """Return Vela's rows for a .tflite network.

    Raises
    ------
    VelaError
        With what Vela printed, if it failed or left an operator to the CPU.
    """
    command = [str(environments.python("vela").parent / "vela"), "network.tflite"]
    command += ["--verbose-performance", "--output-dir", "out", *setting.options()]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "network.tflite").write_bytes(network)
        run = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
        table = Path(folder, "out", "network_per-layer.csv")
        if run.returncode or not table.exists():
            raise VelaError(f"{setting}: {run.stdout}{run.stderr}"[-2000:])
        return _parsed(table.read_text(encoding="utf-8"))


def _parsed(text: str) -> list[VelaRow]:
    rows = []
    for line in csv.DictReader(io.StringIO(text)):
        if line["Target"] != "NPU":
            raise VelaError(f"{line['Original Operator']} {line['Name']} is left to the CPU")
        memory_cycles = dict.fromkeys(_MEMORIES.values(), 0)
        for column, memory in _MEMORIES.items():
            memory_cycles[memory] += int(line[column])
        rows.append(
            VelaRow(
                source=line["Original Operator"],
                operation=line["NNG Operator"],
                name=line["Name"],
                op_cycles=int(line["Op Cycles"]),
                npu_cycles=int(line["NPU"]),
                macs=int(line["MAC Count"]),
                memory_cycles=memory_cycles,
            )
        )
    return rows
