# SPDX-License-Identifier: Apache-2.0
"""One op in many modes as hardware side by side, and the emulator's results of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from many_units import Configuration, Field, ManyUnits
from numpy.typing import NDArray

from simulator.export.rtl.bench import Bench, Part
from simulator.export.rtl.benches import bench_of
from simulator.export.rtl.folder import unit_files
from simulator.export.rtl.skeleton import module_text
from simulator.export.rtl.vectors import OpVectors
from simulator.export.rtl.words import memory_text
from simulator.export.rtl.wrappers import wrapper_of
from simulator.numerics.float_type import Array


def element_words(bench: Bench, names: Sequence[str]) -> tuple[dict[str, Array], NDArray[np.bool_]]:
    """Return the codes of streams element by element, and which elements are the last of a row."""
    extents = [loop.extent for loop in bench.loops]
    fields = {}
    for stream in bench.streams:
        if stream.name in names:
            at = np.zeros(extents, np.int64)
            for axis, stride in enumerate(stream.strides):
                steps = stride * np.arange(extents[axis])
                at += steps.reshape([-1 if i == axis else 1 for i in range(len(extents))])
            fields[stream.name] = stream.words.reshape(-1)[at.reshape(-1)]
    last = np.broadcast_to(np.arange(extents[-1]) == extents[-1] - 1, extents).reshape(-1)
    return fields, last


def through_hardware(
    vectors: Sequence[OpVectors],
    folder: Path,
    simulator: str,
    runtime: Path | None,
    changes: Mapping[str, tuple[int, str, str]] | None = None,
    part: Part = Part.WHOLE,
) -> list[np.ndarray]:
    """Feed ops that have the same operands; return what each yields, and then each changed one.

    ``changes`` has modules that are built wrong: of the op of that number, with one text in place
    of another.
    """
    benches = [bench_of(one, part) for one in vectors]
    wrappers = [wrapper_of(bench, one) for bench, one in zip(benches, vectors, strict=True)]
    files = {}
    configurations = []
    first = benches[0]
    streams = {stream.name: stream for stream in first.streams}
    used = [name for name in streams if name not in wrappers[0].unused]
    inputs = {f"in_{name}": f"{name}_field[{streams[name].kind.bits - 1}:0]" for name in used}
    for number, (bench, wrapper) in enumerate(zip(benches, wrappers, strict=True)):
        bodies = {f"device_{number}": wrapper.body}
        for name, (of, old, new) in (changes or {}).items():
            if of == number:
                assert old in wrapper.body
                bodies[name] = wrapper.body.replace(old, new)
        for name, body in bodies.items():
            files[f"{name}.sv"] = module_text(bench, name, body, wrapper.unused)
        files |= unit_files(wrapper.units)
        for rom in wrapper.roms:
            text = memory_text(rom.words, rom.kind)
            assert files.setdefault(f"{rom.name}.hex", text) == text, "all read the same memories"
    order = [*range(len(benches)), *(of for of, _, _ in (changes or {}).values())]
    names = [*(f"device_{number}" for number in range(len(benches))), *(changes or {})]
    for of, name in zip(order, names, strict=True):
        kind = benches[of].result_kind
        configurations.append(
            Configuration(module=name, inputs=inputs, out_bits=kind.bits, out_signed=kind.signed)
        )
    hardware = ManyUnits(
        fields=tuple(Field(name=name, bits=-(-streams[name].kind.bits // 8) * 8) for name in used),
        configurations=tuple(configurations),
        files=files,
    )
    fields, last = element_words(first, used)
    return hardware.run(folder, simulator, runtime, fields, last)
