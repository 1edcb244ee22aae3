# SPDX-License-Identifier: Apache-2.0
"""LiteRT and TensorFlow Lite Micro, asked from the tests.

Fixtures of ``conftest.py`` hand out a :class:`Lite`: ``lite`` for the engines of LiteRT, ``tflm``
(the same object) for tests that also need ``Engine.TFLM``; ``onnx`` needs no other fixture than
``lite``. A test asks for the one it needs, and is skipped (or fails, where oracles are required)
without it::

    def test_addition(tflm, record_count):
        model = ...                                  # see simulator.export.tflite_file
        got = tflm.run(model, {"a": a, "b": b}, engine=Engine.TFLM)["y"]
        record_count("tflite-micro", "ADD int8", compared=got.size, mismatches=(got != ours).sum())
        assert (got == ours).all()

``all_tensors=True`` also returns every intermediate tensor, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from oracle_process import OracleProcess

from simulator.export.tflite_file import TfliteFile


class Engine(StrEnum):
    """Whose kernels run a model."""

    LITERT_REF = "litert_ref"  # BUILTIN_REF: the same on every host
    LITERT_OPTIMIZED = "litert_optimized"  # without delegates; depends on the host's CPU
    LITERT_DEFAULT = "litert_default"  # XNNPACK where it can; depends on the host's CPU
    TFLM = "tflm"  # TensorFlow Lite Micro: its portable C++ kernels


class Lite:
    """The process with LiteRT, TensorFlow Lite Micro, onnxruntime and onnx."""

    def __init__(self, process: OracleProcess) -> None:
        self._process = process

    def run(
        self,
        model: TfliteFile,
        inputs: Mapping[str, np.ndarray],
        *,
        engine: Engine,
        all_tensors: bool = False,
    ) -> dict[str, np.ndarray]:
        """Run a model once.

        Parameters
        ----------
        model
            What to run.
        inputs
            One array per tensor in ``model.inputs``, of exactly its shape and type.
        engine
            Whose kernels.
        all_tensors
            Return every tensor that is not constant instead of ``model.outputs``.

        Raises
        ------
        OracleError
            If the engine refuses the model, with its reason.
        """
        header = {
            "request": "run",
            "model": model.described(),
            "engine": engine.value,
            "all_tensors": all_tensors,
        }
        return self._process.ask(header, _named(model, inputs))

    def file_bytes(self, model: TfliteFile) -> bytes:
        """Return the .tflite file."""
        header = {"request": "write", "model": model.described()}
        return self._process.ask(header, _named(model, {}))["file"].tobytes()

    def onnx_matmul(
        self,
        a: np.ndarray,
        b: np.ndarray,
        *,
        scales: tuple[float, np.ndarray | float, float],
        zero_points: tuple[int, int, int],
        reference: bool,
    ) -> np.ndarray:
        """ONNX QLinearMatMul of int8 or uint8 [M, K] and [K, N].

        ``scales`` and ``zero_points`` are those of a, b and the result; b may have a scale per
        column. ``reference`` asks ``onnx.reference`` instead of onnxruntime.
        """
        zeros = [
            np.array(zero, array.dtype) for zero, array in zip(zero_points, (a, b, a), strict=True)
        ]
        scale_b = np.asarray(scales[1], np.float32)
        arrays = {
            "a": a,
            "a_scale": np.asarray(scales[0], np.float32),
            "a_zero": zeros[0],
            "b": b,
            "b_scale": scale_b,
            "b_zero": np.broadcast_to(zeros[1], scale_b.shape).copy(),
            "y_scale": np.asarray(scales[2], np.float32),
            "y_zero": zeros[2],
        }
        return self._onnx("QLinearMatMul", arrays, a.dtype, reference)

    def onnx_quantize(
        self, x: np.ndarray, scale: float, zero_point: int, dtype: str, *, reference: bool
    ) -> np.ndarray:
        """ONNX QuantizeLinear of float32 values."""
        arrays = {
            "x": x,
            "scale": np.asarray(scale, np.float32),
            "zero": np.array(zero_point, dtype),
        }
        return self._onnx("QuantizeLinear", arrays, np.dtype(dtype), reference)

    def _onnx(
        self, kind: str, arrays: dict[str, np.ndarray], dtype: np.dtype, reference: bool
    ) -> np.ndarray:
        header = {
            "request": "onnx",
            "kind": kind,
            "dtype": dtype.name,
            "engine": "reference" if reference else "runtime",
        }
        return self._process.ask(header, arrays)["y"]


def _named(model: TfliteFile, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    constants = {f"constant:{name}": array for name, array in model.constants.items()}
    return constants | {f"input:{name}": array for name, array in inputs.items()}
