# SPDX-License-Identifier: Apache-2.0
"""Golden folders of ops by themselves: directed vectors, and an op on somebody's own operands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.golden.directed.making import Stimulus
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
    Kind,
    Manifest,
    OpEntry,
    array_names,
    write_manifest,
)
from simulator.golden.one_op import run_kernel, run_trace
from simulator.ops import OpResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Other formats beside ``.npy``, see :mod:`simulator.golden.formats`."""

    formats: tuple[Format, ...] = ()
    word_bits: int | None = None


def write_units(
    kind: Kind,
    stimuli: Iterable[Stimulus],
    folder: Path,
    form: Form,
    source: str,
    on_progress: Callable[[int], None] = lambda units: None,
) -> Manifest:
    """Write golden vectors of units into an empty folder; each is an op of its own.

    Raises
    ------
    InputError
        If a file cannot be written.
    RuntimeError
        If a kernel and a trace disagree: a mistake of this package.
    """
    files: dict[str, ArrayFile] = {}
    entries = []
    for stimulus in stimuli:
        entries.append(_write(stimulus, folder, files))
        on_progress(1)
    derived = write_formats(folder, files, form.formats, form.word_bits)
    manifest = Manifest(
        kind=kind,
        graph=None,
        images=None,
        word_bits=form.word_bits,
        files=files,
        ops=tuple(entries),
        derived=derived or None,
        source=source,
    )
    write_manifest(manifest, folder)
    return manifest


def _write(stimulus: Stimulus, folder: Path, files: dict[str, ArrayFile]) -> OpEntry:
    """Write the arrays of one unit, and add what the manifest says of them."""
    one, op = stimulus.one, stimulus.one.op
    result = run_kernel(one, stimulus.operands)
    inner = dict(run_trace(one, stimulus.operands))
    traced = inner.pop(RESULT)
    if not one.result.is_float and not np.array_equal(traced, result.codes):
        raise RuntimeError(f"unit {op.name}: its formula and its kernel disagree")
    arrays = {}
    for key, name in array_names(op).items():
        tensor = one.graph.tensors[name]
        if one.graph.is_constant(name):
            path, values, role = constant_path(name), one.graph.constants[name], ArrayRole.CONSTANT
        elif name == op.name:
            path, values, role = tensor_path(name), result.codes, ArrayRole.RESULT
        else:
            path, values, role = tensor_path(name), stimulus.operands[name], ArrayRole.OPERAND
        save_array(folder / path, values)
        arrays[key], files[path] = path, describe(folder / path, tensor.type, role, tensor)
    kinds = inner_types(op, one.graph)
    for name, values in inner.items():
        path = arrays[name] = inner_path(op.name, name)
        save_array(folder / path, values.astype(kinds[name].dtype))
        files[path] = describe(folder / path, kinds[name], ArrayRole.INNER)
    return OpEntry.of(op, arrays, counts_of(result), stimulus.about, stimulus.stands_for)


def counts_of(result: OpResult) -> dict[str, int]:
    """Return what happened in an op, as the manifest says it."""
    counts = {"saturated": result.saturated}
    if result.sums is not None:
        counts |= {
            "persistent": result.sums.persistent,
            "transient": result.sums.transient,
            "changed": result.sums.changed,
        }
    return counts
