# SPDX-License-Identifier: Apache-2.0
"""Messages between a test and an oracle's process: one line of JSON, then raw arrays.

Both sides import this module, and the oracles have other versions of everything than we have, so
it needs the standard library and numpy alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np


def send(stream: IO[bytes], header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write one message; ``header`` must be JSON's, ``arrays`` any plain numpy types."""
    # Not ascontiguousarray: it would turn a scalar into a vector.
    plain = {name: np.array(array, order="C", copy=None) for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.hasobject:
            raise TypeError(f"{name!r} is no array of numbers")
    described = [
        {"name": name, "dtype": array.dtype.str, "shape": array.shape}
        for name, array in plain.items()
    ]
    stream.write(json.dumps({"header": header, "arrays": described}).encode() + b"\n")
    for array in plain.values():
        stream.write(array.tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read one message.

    Raises
    ------
    EOFError
        If the other side has ended.
    """
    line = stream.readline()
    if not line:
        raise EOFError("the other side has ended")
    message = json.loads(line)
    arrays = {}
    for described in message["arrays"]:
        dtype = np.dtype(described["dtype"])
        size = int(np.prod(described["shape"], dtype=np.int64)) * dtype.itemsize
        raw = stream.read(size)
        if len(raw) < size:
            raise EOFError("the other side has ended within a message")
        arrays[described["name"]] = np.frombuffer(raw, dtype).reshape(described["shape"]).copy()
    return message["header"], arrays


def serve(stream_in: IO[bytes], stream_out: IO[bytes], handlers: Mapping[str, Any]) -> None:
    """Answer requests until the other side closes: the loop inside an oracle's process.

    ``handlers`` are functions of (header, arrays) that return arrays, by the header's "request".
    What they raise is sent back as the header's "error".
    """
    while True:
        try:
            header, arrays = receive(stream_in)
        except EOFError:
            return
        try:
            send(stream_out, {}, handlers[header["request"]](header, arrays))
        except Exception as error:
            send(stream_out, {"error": f"{type(error).__name__}: {error}"}, {})
