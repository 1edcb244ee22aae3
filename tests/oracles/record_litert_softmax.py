# SPDX-License-Identifier: Apache-2.0
"""Record SOFTMAX of LiteRT's optimized and default kernels: run with the project's Python.

As :mod:`record_litert_optimized`, which says why.
``python tests/oracles/record_litert_softmax.py`` writes ``recorded/litert_*_softmax.json`` anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from environments import HERE, python
from lite_oracle import Engine, Lite
from oracle_process import OracleProcess
from record_litert_optimized import VERSION, processor
from softmax_operator import S8, Integers, run, scores

FILES = {
    Engine.LITERT_OPTIMIZED: HERE / "recorded" / "litert_optimized_softmax.json",
    Engine.LITERT_DEFAULT: HERE / "recorded" / "litert_default_softmax.json",
}


def inputs() -> list[tuple[float, Integers]]:
    """Return scales and rows; the longest row of equal scores has a probability of half a code."""
    random = np.random.default_rng(66)
    rows = [(scale, scores(random, (24, 64), S8)) for scale in (0.004, 0.05, 0.25)]
    rows.append((0.1, np.full((1, 512), 7, np.int8)))
    return [(float(np.float32(scale)), x) for scale, x in rows]


def main() -> None:
    """Write the files."""
    with OracleProcess(python("lite"), "lite_process.py") as process:
        lite = Lite(process)
        for engine, path in FILES.items():
            recording = {
                "operator": "SOFTMAX int8",
                "made_by": f"tests/oracles/{Path(__file__).name}",
                "made_with": VERSION,
                "engine": engine.value,
                "processor": processor(),
                "cases": [
                    {
                        "scale": scale,
                        "x": x.tolist(),
                        "y": run(lite, engine, x, scale, S8).tolist(),
                    }
                    for scale, x in inputs()
                ],
            }
            # One row of an array per line.
            text = json.dumps(recording, indent=1)
            text = text.replace(",\n     ", ", ").replace("[\n     ", "[").replace("\n    ]", "]")
            path.write_text(text + "\n")


if __name__ == "__main__":
    main()
