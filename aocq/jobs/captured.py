# SPDX-License-Identifier: Apache-2.0
"""Captured networks without weights, kept on disk: another estimate needs neither torch nor timm.

Building a network, exporting and running it takes seconds, and is the same for every chip and
width. What is left of it, a :class:`aocq.methods.weightless.WeightlessNetwork` and the record of
its model, goes into a file of the folder ``networks`` in the cache folder
(:func:`simulator.config.cache_folder`). The file's name is a digest of all that the content depends
on. A file is read back as it was written or not at all (:mod:`aocq.records.kept`), and is data, not
code. The folder is a convenience: whatever goes wrong with it costs the time to capture.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from aocq.capture.float_graph import FloatGraph, FloatNode, FloatOp
from aocq.jobs.request import ModelRequest
from aocq.methods.weightless import (
    WeightlessNetwork,
    plain_ranges,
    ranges_of,
    without_matrices,
    zeros,
)
from aocq.progress import Note, Progress
from aocq.records.kept import keep, kept
from aocq.records.provenance import code_digest, package_versions
from aocq.records.run import ModelRecord
from simulator import strict_json
from simulator.config import cache_folder
from simulator.errors import InputError
from simulator.ownership import check_private_folder

FOLDER = "networks"
# Of the folder: a network takes 0.1 to 4 MB, and those that were not read for the longest time go.
MOST_FILES, MOST_BYTES = 256, 1 << 28
IMAGES, SEED = 2, 0  # random ones, on which ranges are seen
_DESCRIPTION = "description (JSON)"  # the entry of a file that is JSON, beside the vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedNetwork:
    """A network of random weights, captured, without its matrices, and the record of its model."""

    model: ModelRecord
    network: WeightlessNetwork


def captured_network(request: ModelRequest, progress: Progress, note: Note) -> CapturedNetwork:
    """Return a network by name, from the folder of kept ones where it is there.

    Raises
    ------
    InputError
        If there is no such network, or it cannot be captured.
    """
    path = _place(request)
    content = None if path is None else _read(path, request.name, note)
    if content is None:
        content = _encoded(_captured(request, progress))
        if path is not None:
            _write(path, content, request.name, note)
    return _decoded(content)


def _captured(request: ModelRequest, progress: Progress) -> CapturedNetwork:
    import torch

    from aocq.capture import capture
    from aocq.jobs.model_record import model_record
    from aocq.zoo.models import random_model

    what = f"capture {request.name} with random weights"
    with progress(what, 1) as advance, _one_thread():
        model = random_model(
            request.name,
            request.classes,
            arguments=request.arguments,
            preprocessing=request.preprocessing,
        )
        graph = capture(model.network, request.name, model.input_size)
        generator = torch.Generator().manual_seed(SEED)
        images = torch.randn(IMAGES, *model.input_size, generator=generator)
        network = without_matrices(graph, images)
        advance(1)
    return CapturedNetwork(model=model_record(model), network=network)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in one thread.

    Several gain little on two images, and wait for each other, busily, where others need the cores.
    Ranges do not depend on how many there are, either.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- the folder -----------------------------------------------------------------------------------


def _place(request: ModelRequest) -> Path | None:
    """Return a network's file, None where nothing can be kept."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        versions = package_versions()
    except PackageNotFoundError:  # then it cannot be captured either, and torch's absence is told
        return None
    depends_on = {
        "name": request.name,
        "classes": request.classes,
        "arguments": dict(request.arguments),
        "preprocessing": dict(request.preprocessing),
        "versions": versions,
        "code": code_digest(),
    }
    key = json.dumps(depends_on, sort_keys=True, default=str)
    return folder / FOLDER / hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:32]


def _read(path: Path, name: str, note: Note) -> bytes | None:
    """Return what was kept; None where nothing was, or it is damaged, which is said."""
    try:
        check_private_folder(path.parent)
    except OSError:
        return None
    content = kept(path)
    if content is None and os.path.lexists(path):
        note(f"{path}: damaged; {name} is captured again")
    if content is not None:
        with suppress(OSError):
            os.utime(path)
    return content


def _write(path: Path, content: bytes, name: str, note: Note) -> None:
    """Keep a network, and no more of others than there is room for."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private_folder(path.parent)
        keep(path, content)
        _make_room(path.parent)
    except (InputError, OSError) as error:
        note(
            f"{name} cannot be kept for the next estimate ({error}): it is captured again each "
            "time (AOCQ_CACHE_DIR names another folder)"
        )


def _make_room(folder: Path) -> None:
    """Remove what was not read for the longest time, until the rest is within the bounds."""
    found = []
    for path in folder.iterdir():
        with suppress(OSError):  # another process removed it
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, path))
    total = 0
    for place, (_, size, path) in enumerate(sorted(found, reverse=True)):
        total += size
        if place >= MOST_FILES or total > MOST_BYTES:
            path.unlink(missing_ok=True)


# --- the file -------------------------------------------------------------------------------------


def _encoded(captured: CapturedNetwork) -> bytes:
    network = captured.network
    graph = network.graph
    vectors = {name: value for name, value in graph.parameters.items() if any(value.strides)}
    description = {
        "model": captured.model.model_dump(),
        "name": graph.name,
        "nodes": [
            [node.name, str(node.op), node.inputs, dict(node.attributes), node.shape]
            for node in graph.nodes
        ],
        "zeros": {
            name: value.shape for name, value in graph.parameters.items() if name not in vectors
        },
        "largest": dict(network.largest),
        "ranges": plain_ranges(network.ranges),
        "masked": plain_ranges(network.masked),
        "parts": plain_ranges(network.parts),
    }
    text = strict_json.dumps(description).encode()
    return serialize({**vectors, _DESCRIPTION: np.frombuffer(text, np.uint8)})


def _decoded(content: bytes) -> CapturedNetwork:
    parameters = deserialize(content)
    found = json.loads(parameters.pop(_DESCRIPTION).tobytes())
    shapes: Mapping[str, list[int]] = found["zeros"]
    parameters |= {name: zeros(tuple(shape)) for name, shape in shapes.items()}
    network = WeightlessNetwork(
        graph=FloatGraph(
            name=found["name"],
            nodes=tuple(_node(*parts) for parts in found["nodes"]),
            parameters=MappingProxyType(parameters),
        ),
        largest=found["largest"],
        ranges=ranges_of(found["ranges"]),
        masked=ranges_of(found["masked"]),
        parts=ranges_of(found["parts"]),
    )
    return CapturedNetwork(model=ModelRecord(**found["model"]), network=network)


def _node(
    name: str, op: str, inputs: list[str], attributes: dict[str, Any], shape: list[int]
) -> FloatNode:
    return FloatNode(
        name=name,
        op=FloatOp(op),
        inputs=tuple(inputs),
        attributes={
            key: tuple(value) if isinstance(value, list) else value
            for key, value in attributes.items()
        },
        shape=tuple(shape),
    )
