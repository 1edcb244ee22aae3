# SPDX-License-Identifier: Apache-2.0
"""Our own Verilog under Icarus: a requantizer and an accumulator. The fixture is ``verilog``.

The hardware is described as hardware does it (increments by the discarded bits, one addition per
clock), not by the formulas of the simulator.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from environments import HERE
from numpy.typing import NDArray

# In the order of requantizer.v.
ROUNDINGS = (
    "floor",
    "toward_zero",
    "half_up",
    "half_down",
    "half_away",
    "half_even",
    "double_symmetric",
    "double_asymmetric",
)
OVERFLOWS = ("saturate", "saturate_symmetric", "wrap")
CODE_DTYPES: Mapping[int, type[np.integer]] = MappingProxyType({8: np.int8, 16: np.int16})


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One accumulator: ``group`` 0 has no inner register."""

    group: int
    inner_bits: int
    inner_saturates: bool
    bits: int
    saturates: bool
    bias_last: bool

    @property
    def configuration(self) -> int:
        """The unit's 48 bits of CONFIGURATIONS in accumulator.v."""
        flags = self.inner_saturates | self.saturates << 1 | self.bias_last << 2
        return self.group << 24 | self.inner_bits << 16 | self.bits << 8 | flags


class Verilog:
    """Icarus Verilog in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def requantize(
        self,
        accumulators: NDArray[np.integer],
        multipliers: NDArray[np.integer],
        shifts: NDArray[np.integer],
        zero_points: NDArray[np.integer],
        *,
        overflow: str,
        zero_point_first: bool = False,
        bits: int = 8,
    ) -> dict[str, NDArray[np.integer]]:
        """Requantize vectors [count] in every rounding mode.

        Accumulators of 48 bits, multipliers and zero points as signed integers of 32 and 16, whose
        products fit 63; shifts 0 to 62; results of 8 or 16 ``bits``. Returns codes [count] by mode.
        """
        count = len(accumulators)
        raw = np.zeros((count, 15), np.uint8)
        raw[:, 0:6] = _big_endian(accumulators, 8)[:, 2:]
        raw[:, 6:10] = _big_endian(multipliers, 4)
        raw[:, 10] = shifts
        raw[:, 11:13] = _big_endian(zero_points, 2)
        _write_hex(self._folder / "vectors.hex", raw)
        parameters = {
            "COUNT": count,
            "BITS": bits,
            "OVERFLOW": OVERFLOWS.index(overflow),
            "ZERO_POINT_FIRST": int(zero_point_first),
        }
        self._simulate("requantizer.v", parameters)
        table = _read_hex(self._folder / "codes.hex", f">i{bits // 8}", count)
        codes = table.astype(CODE_DTYPES[bits])
        return {mode: codes[:, column] for column, mode in enumerate(ROUNDINGS)}

    def accumulate(
        self,
        a: NDArray[np.int8],
        b: NDArray[np.int8],
        bias: NDArray[np.integer],
        units: Sequence[Unit],
    ) -> NDArray[np.int64]:
        """Accumulate the products of each row of ``a`` and ``b`` [count, length] in every unit.

        ``bias`` int32 [count]; returns [count, units].
        """
        count, length = a.shape
        pairs = np.stack([a, b], axis=-1).view(np.uint8).reshape(-1, 2)
        _write_hex(self._folder / "operands.hex", pairs)
        _write_hex(self._folder / "biases.hex", _big_endian(bias, 4))
        packed = sum(unit.configuration << (48 * u) for u, unit in enumerate(units))
        (self._folder / "units.vh").write_text(
            f"localparam UNITS = {len(units)};\n"
            f"localparam [48*UNITS-1:0] CONFIGURATIONS = {48 * len(units)}'h{packed:x};\n"
        )
        self._simulate("accumulator.v", {"COUNT": count, "LENGTH": length})
        table = _read_hex(self._folder / "results.hex", ">i8", count)
        return table.astype(np.int64)[:, ::-1]

    def _simulate(self, source: str, parameters: Mapping[str, int]) -> None:
        given = [f"-Pbench.{name}={value}" for name, value in parameters.items()]
        compile_ = ["iverilog", "-g2005", "-s", "bench", "-I", str(self._folder), *given]
        subprocess.run([*compile_, "-o", "bench", str(HERE / source)], check=True, cwd=self._folder)
        subprocess.run(["vvp", "-n", "bench"], check=True, cwd=self._folder)


def _big_endian(values: NDArray[np.integer], size: int) -> NDArray[np.uint8]:
    """Return [count, size] bytes, the highest first."""
    stored = np.asarray(values).astype(f">i{size}")
    if not np.array_equal(stored, values):
        raise ValueError(f"numbers do not fit {size} bytes")
    return stored.view(np.uint8).reshape(-1, size)


def _write_hex(path: Path, rows: NDArray[np.uint8]) -> None:
    text = rows.tobytes().hex()
    digits = 2 * rows.shape[1]
    lines = [text[start : start + digits] for start in range(0, len(text), digits)]
    path.write_text("\n".join(lines) + "\n")


def _read_hex(path: Path, dtype: str, count: int) -> NDArray[np.integer]:
    """Read lines of numbers without separators; an undefined digit (x) is an error."""
    return np.frombuffer(bytes.fromhex(path.read_text()), dtype).reshape(count, -1)
