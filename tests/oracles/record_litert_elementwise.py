# SPDX-License-Identifier: Apache-2.0
"""Record ADD, MUL and QUANTIZE of LiteRT's default kernels: run with the project's Python.

As :mod:`record_litert_optimized`, which says why.
``python tests/oracles/record_litert_elementwise.py`` writes
``recorded/litert_default_elementwise.json`` anew. Codes are exact but compact: differences along
the last dimension modulo 256, by zlib and base64.
"""

from __future__ import annotations

import json
import sys
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from environments import HERE, python
from lite_oracle import Engine, Lite
from oracle_process import OracleProcess
from record_litert_optimized import VERSION, processor
from xnnpack_operators import PRODUCTS, SUMS, Case, Codes, case, conversions

FILE = HERE / "recorded" / "litert_default_elementwise.json"


def packed(codes: Codes) -> str:
    """Return codes as text."""
    differences = np.diff(codes, axis=-1, prepend=np.int8(0))
    return b64encode(zlib.compress(differences.tobytes(), 9)).decode()


def unpacked(text: str, shape: tuple[int, ...]) -> Codes:
    """Return the codes of :func:`packed`."""
    differences = np.frombuffer(zlib.decompress(b64decode(text)), np.int8).reshape(shape)
    return np.cumsum(differences, axis=-1, dtype=np.int8)


def described(by: Case, codes: Codes) -> dict[str, Any]:
    """Return one case and its codes as plain values."""
    return {
        "operator": by.kind,
        "scales": by.scales,
        "zero_points": by.zero_points,
        "broadcast": by.broadcast,
        "y": packed(codes),
    }


def recorded(kind: str) -> Iterator[tuple[Case, Codes]]:
    """Yield the cases of an operator, and LiteRT's codes."""
    for each in json.loads(FILE.read_text())["cases"]:
        if each["operator"] == kind:
            pairs = zip(each["scales"], each["zero_points"], strict=True)
            by = case(kind, *pairs, broadcast=each["broadcast"])
            yield by, unpacked(each["y"], by.shape)


def main() -> None:
    """Write the file."""
    with OracleProcess(python("lite"), "lite_process.py") as process:
        lite = Lite(process)
        cases = [
            described(by, by.run(lite, Engine.LITERT_DEFAULT))
            for by in (*SUMS, *PRODUCTS, *conversions())
        ]
    recording = {
        "operator": "ADD, MUL, QUANTIZE int8",
        "made_by": f"tests/oracles/{Path(__file__).name}",
        "made_with": VERSION,
        "engine": Engine.LITERT_DEFAULT.value,
        "processor": processor(),
        "inputs": "every pair of codes, the second the faster; of QUANTIZE every code",
    }
    # One case per line.
    lines = ",\n  ".join(json.dumps(each) for each in cases)
    header = json.dumps(recording, indent=1).removesuffix("\n}")
    FILE.write_text(f'{header},\n "cases": [\n  {lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
