# SPDX-License-Identifier: Apache-2.0
"""Runs inside the environment ``scalesim``: matrix products through SCALE-Sim.

Imports nothing of ours but :mod:`messages`. See :mod:`scale_sim_oracle` for the other end.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from messages import serve
from scalesim.scale_sim import scalesim

# Memories that hold everything, so that the array never waits.
CONFIGURATION = """\
[general]
run_name = run
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {columns}
IfmapSramSzkB = 4096
FilterSramSzkB = 4096
OfmapSramSzkB = 4096
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = False
"""


def cycles(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return "Total Cycles" and "Stall Cycles" of the compute report for shapes [count, 3]."""
    shapes = arrays["shapes"].tolist()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        configuration = folder / "array.cfg"
        configuration.write_text(CONFIGURATION.format(**header["array"]))
        rows = [f"product{i}, {m}, {n}, {k}," for i, (m, k, n) in enumerate(shapes)]
        topology = folder / "products.csv"
        topology.write_text("\n".join(["Layer, M, N, K,", *rows, ""]))
        layout = folder / "layout.csv"  # is read, and not used
        layout.write_text("Layer,\n")
        simulation = scalesim(
            save_disk_space=True,
            verbose=False,
            config=str(configuration),
            topology=str(topology),
            layout=str(layout),
            input_type_gemm=True,
        )
        simulation.run_scale(top_path=str(folder))
        with (folder / "run" / "COMPUTE_REPORT.csv").open() as report:
            table = list(csv.DictReader(report, skipinitialspace=True))
    names = {"total": "Total Cycles", "stalls": "Stall Cycles"}
    return {
        short: np.array([int(row[name]) for row in table], np.int64)
        for short, name in names.items()
    }


def main() -> None:
    """Serve on the standard streams; what SCALE-Sim prints goes to the error stream."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers, {"cycles": cycles})


if __name__ == "__main__":
    main()
