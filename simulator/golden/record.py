# SPDX-License-Identifier: Apache-2.0
"""Golden vectors of a graph: what its ops read, compute on the way and write, for some images.

Ops run by the emulator's kernels. Each is traced from its formula, too, and both results compared:
what is written has two opinions that agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from simulator.counts import OpCounts, summed
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.files import cannot_be_written
from simulator.golden.files import (
    constant_path,
    describe,
    inner_path,
    save_array,
    tensor_path,
)
from simulator.golden.formats import Format, write_formats
from simulator.golden.inner_types import inner_types
from simulator.golden.manifest import (
    RESULT,
    ArrayFile,
    ArrayRole,
    GraphIdentity,
    Kind,
    Manifest,
    OpEntry,
    array_names,
    write_manifest,
)
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op, TensorId
from simulator.graph.storage import save
from simulator.numerics.float_type import Array, TensorType
from simulator.taps import tensors_named
from simulator.traces import trace

IMAGES_AT_ONCE = 4  # traced together: int64 arrays of all ops of a few images
MOST_ULPS = 2  # of float32, between two computations of a function of real values


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What is recorded of a graph.

    Attributes
    ----------
    ops
        those that are traced, in order
    images
        how many there will be
    source
        a sentence: what the input codes are of
    word_bits, formats
        see :mod:`simulator.golden.formats`
    """

    graph: IntGraph
    ops: tuple[Op, ...]
    images: int
    source: str
    word_bits: int | None = None
    formats: tuple[Format, ...] = ()

    @property
    def activations(self) -> tuple[TensorId, ...]:
        """The tensors with images that these ops read or write, each once."""
        names = dict.fromkeys(name for op in self.ops for name in (*op.operands, op.name))
        return tuple(name for name in names if not self.graph.is_constant(name))

    @property
    def steps(self) -> int:
        """How often ``on_progress`` of :func:`record` will be told of a finished piece of work."""
        return self.images * len(self.ops)


def ops_named(graph: IntGraph, patterns: Sequence[str]) -> tuple[Op, ...]:
    """Return the ops whose names, or patterns of names, are given; all where none is.

    Raises
    ------
    InputError
        If a pattern is of no op.
    """
    if not patterns:
        return graph.ops
    found: set[TensorId] = set()
    for pattern in patterns:
        names = {*tensors_named(graph, [pattern], "op")} - {*graph.inputs}
        if not names:
            raise InputError(f"op {pattern}: is the input of graph {graph.name}, not an op")
        found |= names
    return tuple(op for op in graph.ops if op.name in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrays:
    """The ``.npy`` files of activations and intermediates, filled image by image.

    None stays open: a network has more of them than a process may have open files.
    """

    folder: Path
    images: int

    def put(self, path: str, values: Array, dtype: np.dtype[Any], start: int) -> None:
        """Write the values [n, ...] of the images from ``start`` on.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        place = self.folder / path
        try:
            if start == 0:
                place.parent.mkdir(parents=True, exist_ok=True)
                shape, little = (self.images, *values.shape[1:]), dtype.newbyteorder("<")
                array = open_memmap(place, mode="w+", dtype=little, shape=shape)
            else:
                array = open_memmap(place, mode="r+")
            array[start : start + len(values)] = values
            array.flush()
        except OSError as error:
            raise cannot_be_written(place, error) from error


def record(
    recording: Recording,
    executor: Executor,
    codes: Iterable[Array],
    folder: Path,
    on_progress: Callable[[int], None] = lambda steps: None,
) -> Manifest:
    """Run a graph on input codes and write golden vectors of its ops into an empty folder.

    Parameters
    ----------
    executor
        of the recording's graph
    codes
        input codes [n, ...], ``recording.images`` images in all, in batches of any size
    on_progress
        called with the number of ops traced since the last call, each image counted

    Raises
    ------
    InputError
        If codes are not those of the graph's input, fewer or more than announced, or a file cannot
        be written.
    RuntimeError
        If a kernel and a trace disagree: a mistake of this package.
    """
    arrays = _Arrays(folder=folder, images=recording.images)
    counts: list[Mapping[str, OpCounts]] = []
    start = 0
    with ThreadPoolExecutor(executor.threads) as pool:
        for batch in _small_batches(codes):
            if start + len(batch) > recording.images:
                raise InputError(f"more than {recording.images} images of input codes")
            output = executor.run(batch, taps=recording.activations)
            counts.append(output.counts)
            values = {**recording.graph.constants, **output.taps}
            for name in recording.activations:
                dtype = recording.graph.tensors[name].type.dtype
                arrays.put(tensor_path(name), values[name], dtype, start)
            for op, inner in zip(
                recording.ops,
                pool.map(partial(_traced, recording.graph, values), recording.ops),
                strict=True,
            ):
                for name, (kind, found) in inner.items():
                    arrays.put(inner_path(op.name, name), found, kind.dtype, start)
                on_progress(len(batch))
            start += len(batch)
    if start < recording.images:
        raise InputError(f"{start} images of input codes, {recording.images} wanted")
    return _described(recording, folder, summed(counts))


def _small_batches(codes: Iterable[Array]) -> Iterator[Array]:
    """Yield the same codes in batches of :data:`IMAGES_AT_ONCE`, the last one aside."""
    held: list[Array] = []
    for batch in codes:
        for image in range(len(batch)):
            held.append(batch[image : image + 1])
            if len(held) == IMAGES_AT_ONCE:
                yield np.concatenate(held)
                held = []
    if held:
        yield np.concatenate(held)


def _traced(
    graph: IntGraph, values: Mapping[TensorId, Array], op: Op
) -> dict[str, tuple[TensorType, Array]]:
    """Return the intermediates of an op with their types; compare its result with the kernel's."""
    found = dict(trace(op, graph, [values[name] for name in op.operands]))
    _compare(op, graph, found.pop(RESULT), values[op.name])
    kinds = inner_types(op, graph)
    for name, array in found.items():
        kind = kinds[name]
        if array.size and not (kind.low <= int(array.min()) and int(array.max()) <= kind.high):
            raise RuntimeError(
                f"op {op.name}: {name} spans {array.min()} to {array.max()}, outside {kind}"
            )
    return {name: (kinds[name], array) for name, array in found.items()}


def _compare(op: Op, graph: IntGraph, traced: Array, kernel: Array) -> None:
    """Raise a RuntimeError where trace and kernel disagree."""
    if graph.result(op).is_float:
        steps = np.abs(_places(traced) - _places(kernel))
        differing = steps > MOST_ULPS
    else:
        differing = traced != kernel
    if traced.shape != kernel.shape or differing.any():
        index = tuple(int(part[0]) for part in np.nonzero(differing))
        raise RuntimeError(
            f"op {op.name}: its formula and its kernel disagree in {int(differing.sum())} of "
            f"{differing.size} results, first at {index}: {traced[index]} and {kernel[index]}"
        )


def _places(values: Array) -> Array:
    """Return the places of float32 values in their order, as int64."""
    bits: Array = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(1 << 31) - bits, bits)


def _described(recording: Recording, folder: Path, counts: Mapping[str, OpCounts]) -> Manifest:
    """Write constants, graph, other formats and the manifest; return it."""
    graph = recording.graph
    computed = {op.name for op in recording.ops}
    files: dict[str, ArrayFile] = {}
    for name in recording.activations:
        role = ArrayRole.RESULT if name in computed else ArrayRole.OPERAND
        tensor, path = graph.tensors[name], tensor_path(name)
        files[path] = describe(folder / path, tensor.type, role, tensor)
    for name in dict.fromkeys(
        name for op in recording.ops for name in (*op.operands, *op.constants)
    ):
        if graph.is_constant(name):
            tensor, path = graph.tensors[name], constant_path(name)
            save_array(folder / path, graph.constants[name])
            files[path] = describe(folder / path, tensor.type, ArrayRole.CONSTANT, tensor)
    entries = []
    for op in recording.ops:
        arrays = {
            key: constant_path(name) if graph.is_constant(name) else tensor_path(name)
            for key, name in array_names(op).items()
        }
        for name, kind in inner_types(op, graph).items():
            path = arrays[name] = inner_path(op.name, name)
            files[path] = describe(folder / path, kind, ArrayRole.INNER)
        entries.append(OpEntry.of(op, arrays, _counts(counts[op.name])))
    save(graph, folder)
    derived = write_formats(folder, files, recording.formats, recording.word_bits)
    manifest = Manifest(
        kind=Kind.NETWORK,
        graph=GraphIdentity.of(graph),
        images=recording.images,
        word_bits=recording.word_bits,
        files=files,
        ops=tuple(entries),
        derived=derived or None,
        source=recording.source,
    )
    write_manifest(manifest, folder)
    return manifest


def _counts(found: OpCounts) -> dict[str, int]:
    """Return what happened in an op, as the manifest says it."""
    counts = {"saturated": found.saturated}
    if found.sums is not None:
        counts |= {
            "persistent": found.sums.persistent,
            "transient": found.sums.transient,
            "changed": found.sums.changed,
        }
    return counts
