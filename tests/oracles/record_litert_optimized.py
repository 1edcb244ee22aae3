# SPDX-License-Identifier: Apache-2.0
"""Record what LiteRT's optimized and default kernels answer: run with the project's Python.

Which kernels these are depends on the host's processor, so tests compare with the recording and not
with whatever host they run on. ``python tests/oracles/record_litert_optimized.py`` writes
``recorded/litert_*.json`` anew.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from environments import HERE, python
from lite_oracle import Engine, Lite
from oracle_process import OracleProcess
from single_operators import FullyConnected, fully_connected, power_of_two, scales

FILES = {
    Engine.LITERT_OPTIMIZED: HERE / "recorded" / "litert_optimized_fully_connected.json",
    Engine.LITERT_DEFAULT: HERE / "recorded" / "litert_default_fully_connected.json",
}
VERSION = next(
    line for line in (HERE / "lite.txt").read_text().split() if line.startswith("ai-edge-litert")
)


def processor() -> str:
    """Name the processor and the instructions that decide about int8 kernels."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    found = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni") if name in flags]
    return f"{platform.machine()} with {', '.join(found) or 'no AVX2'}"


def operators() -> list[FullyConnected]:
    """Four layers of 32 x 32 outputs, most of whose sums are at ties or near them."""
    random = np.random.default_rng(51)
    powers = 2.0 ** random.integers(-4, 3, 32)
    drawn = [
        fully_connected(random, by, rows=32, columns=32)
        for by in (
            power_of_two(1),
            power_of_two(2, (3, -5)),
            scales(0.25, 0.125 * powers, 0.5, x_zero=5, y_zero=-3),
            scales(0.0173, 0.0041, 0.0612, x_zero=-7, y_zero=4),
        )
    ]
    # The last: sums of more than 24 bits.
    wide = random.integers(-300, 300, 32) << 20
    drawn[1] = replace(drawn[1], scales=power_of_two(21, (0, 1)), bias=wide)
    return drawn


def described(operator: FullyConnected, codes: np.ndarray) -> dict[str, Any]:
    """Return one layer and its codes as plain numbers."""
    by = operator.scales
    return {
        "scales": {"x": by.x, "w": by.w.tolist(), "y": by.y},
        "zero_points": {"x": by.x_zero, "y": by.y_zero},
        "x": operator.x.tolist(),
        "weights": operator.weights.tolist(),
        "bias": operator.bias.tolist(),
        "y": codes.tolist(),
    }


def main() -> None:
    """Write the files."""
    with OracleProcess(python("lite"), "lite_process.py") as process:
        lite = Lite(process)
        for engine, path in FILES.items():
            recording = {
                "operator": "FULLY_CONNECTED int8",
                "made_by": f"tests/oracles/{Path(__file__).name}",
                "made_with": VERSION,
                "engine": engine.value,
                "processor": processor(),
                "cases": [described(each, each.run(lite, engine)) for each in operators()],
            }
            # One row of an array per line.
            text = json.dumps(recording, indent=1)
            text = text.replace(",\n     ", ", ").replace("[\n     ", "[").replace("\n    ]", "]")
            path.write_text(text + "\n")


if __name__ == "__main__":
    main()
