# SPDX-License-Identifier: Apache-2.0
"""Build a module and run cocotb's tests on it: a process of the environment that has cocotb.

Arguments: simulator, folder of the sources, top module.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

OPTIONS = {
    "verilator": ["--timing", "-Wno-fatal", "--output-split", "0", "-CFLAGS", "-O1"],
    "icarus": ["-g2012"],
}


def main() -> None:
    """Run, and end with 1 if a test failed or none ran."""
    simulator, folder, top = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    runner = get_runner(simulator)
    runner.build(
        sources=sorted(folder.glob("*.sv")),
        hdl_toplevel=top,
        build_dir=folder / "build",
        build_args=OPTIONS[simulator],
        timescale=("1ns", "1ps"),
        always=True,
    )
    results = runner.test(
        hdl_toplevel=top, test_module="cocotb_rows", build_dir=folder / "build", test_dir=folder
    )
    tests, failures = get_results(results)
    print(f"cocotb: {tests} tests, {failures} failures")
    sys.exit(int(tests == 0 or failures > 0))


if __name__ == "__main__":
    main()
