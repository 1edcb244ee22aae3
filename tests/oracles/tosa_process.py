# SPDX-License-Identifier: Apache-2.0
"""Runs inside the environment ``tosa``: one-operator graphs through TOSA's reference model.

Imports nothing of ours but :mod:`messages`. See :mod:`tosa_oracle` for the other end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tosa_reference_model
import tosa_serializer as tosa
from messages import serve

ROUNDINGS = {
    "single": tosa.RoundingMode.SINGLE_ROUND,
    "double": tosa.RoundingMode.DOUBLE_ROUND,
}
# numpy has no 48-bit integers: these travel in 64.
STORED = {"int8": np.int8, "int16": np.int16, "int32": np.int32, "int48": np.int64}


class OneOperator:
    """A graph of one operator: placeholders and constants in, one result out."""

    def __init__(self) -> None:
        self.graph = tosa.TosaSerializer("")
        self.names: list[str] = []
        self.placeholders: list[np.ndarray] = []
        self.kinds: list[str] = []

    def placeholder(self, values: np.ndarray, kind: str) -> None:
        """Add an operand whose values come at run time."""
        tensor = self.graph.addPlaceholder(list(values.shape), _dtype(kind))
        self.names.append(tensor.name)
        self.placeholders.append(values.astype(STORED[kind]))
        self.kinds.append(kind)

    def constant(self, values: Any, kind: str) -> None:
        """Add an operand that is part of the graph."""
        stored = np.atleast_1d(np.asarray(values)).astype(STORED[kind])
        self.names.append(self.graph.addConst(list(stored.shape), _dtype(kind), stored).name)

    def run(self, operator: str, attribute: Any, shape: tuple[int, ...], kind: str) -> np.ndarray:
        """Run the operator on the operands so far.

        Raises
        ------
        RuntimeError
            Where the reference model finds an error, or a result that TOSA leaves open.
        """
        result = self.graph.addOutput(list(shape), _dtype(kind))
        self.graph.addOperator(getattr(tosa.Op, operator), self.names, [result.name], attribute)
        if "int48" in (kind, *self.kinds):
            return self._run_command(result.name)
        (raw,), status = tosa_reference_model.run(self.graph.serialize(), self.placeholders)
        if status != tosa_reference_model.GraphStatus.TOSA_VALID:
            raise RuntimeError(f"the reference model says {status.name}")
        return np.frombuffer(np.ascontiguousarray(raw).tobytes(), STORED[kind]).reshape(shape)

    def _run_command(self, result: str) -> np.ndarray:
        # The Python binding does not hand over 48-bit tensors; the command reads and writes them
        # as 64-bit numpy files.
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "graph.tosa").write_bytes(self.graph.serialize())
            names = self.names[: len(self.placeholders)]
            for name, values in zip(names, self.placeholders, strict=True):
                np.save(folder / f"{name}.npy", values)
            command = [
                str(Path(sys.prefix) / "bin" / "tosa_reference_model"),
                f"--tosa_file={folder / 'graph.tosa'}",
                f"--flatbuffer_dir={folder}",
                f"--output_dir={folder}",
                f"--ifm_name={','.join(names)}",
                f"--ifm_file={','.join(f'{name}.npy' for name in names)}",
                f"--ofm_name={result}",
                "--ofm_file=result.npy",
            ]
            if code := subprocess.run(command, check=False, stdout=sys.stderr).returncode:
                raise RuntimeError(f"the reference model ended with code {code}")
            written: np.ndarray = np.load(folder / "result.npy")
            return written


def _dtype(kind: str) -> Any:
    return getattr(tosa.DType, kind.upper())


def rescale(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """RESCALE; multiplier and shift of one entry, or one per entry of the last dimension."""
    values, multiplier = arrays["values"], arrays["multiplier"]
    graph = OneOperator()
    graph.placeholder(values, header["input"])
    graph.constant(multiplier, "int32" if header["scale32"] else "int16")
    graph.constant(arrays["shift"], "int8")
    graph.constant([header["input_zero_point"]], header["input"])
    graph.constant([header["output_zero_point"]], header["output"])
    attribute = tosa.TosaSerializerAttribute()
    attribute.RescaleAttribute(
        header["scale32"], ROUNDINGS[header["rounding"]], multiplier.size > 1, False, False
    )
    return {"y": graph.run("RESCALE", attribute, values.shape, header["output"])}


def matmul(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """MATMUL [B, M, K] by [B, K, N]: int8 to int32, or int16 to int48."""
    a, b = arrays["a"], arrays["b"]
    graph = OneOperator()
    for values in (a, b):
        graph.placeholder(values, header["input"])
    for zero_point in header["zero_points"]:
        graph.constant([zero_point], header["input"])
    attribute = tosa.TosaSerializerAttribute()
    attribute.MatMulAttribute()
    output = "int32" if header["input"] == "int8" else "int48"
    shape = (a.shape[0], a.shape[1], b.shape[2])
    return {"y": graph.run("MATMUL", attribute, shape, output)}


def table(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """TABLE: int8 by 256 entries to int8, or int16 by 513 entries to int32."""
    values = arrays["values"]
    graph = OneOperator()
    graph.placeholder(values, header["input"])
    graph.constant(arrays["table"], header["input"])
    attribute = tosa.TosaSerializerAttribute()
    attribute.TableAttribute()
    output = "int8" if header["input"] == "int8" else "int32"
    return {"y": graph.run("TABLE", attribute, values.shape, output)}


def main() -> None:
    """Serve on the standard streams; whatever native code prints goes to the error stream."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers, {"rescale": rescale, "matmul": matmul, "table": table})


if __name__ == "__main__":
    main()
