# SPDX-License-Identifier: Apache-2.0
"""``aocq export``: a graph in the form of another tool, one file per command."""

from __future__ import annotations

from collections.abc import Callable

from aocq.cli.export import c, model_explorer, onnx, rtl, tflite

COMMANDS: dict[str, Callable[..., None]] = {
    "rtl": rtl.command,
    "c": c.command,
    "onnx": onnx.command,
    "tflite": tflite.command,
    "model-explorer": model_explorer.command,
}
