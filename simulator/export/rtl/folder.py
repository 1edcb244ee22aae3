# SPDX-License-Identifier: Apache-2.0
"""The folder of a testbench: SystemVerilog, memories, a Makefile for two simulators, a README."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from simulator.errors import InputError
from simulator.export.rtl.bench import Bench, Part, Rom
from simulator.export.rtl.benches import bench_of
from simulator.export.rtl.skeleton import module_text, skeleton_text
from simulator.export.rtl.testbench import bench_text
from simulator.export.rtl.vectors import OpVectors
from simulator.export.rtl.words import memory_text
from simulator.export.rtl.wrappers import wrapper_of

_INSTANCE = re.compile(r"^ *([a-z_]+) #\($", re.MULTILINE)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")

_MAKEFILE = Template("""\
# `make icarus`, `make verilator`: build and run the testbench; it fails unless every word is equal.
# `make lint`: Verilator's warnings. STALLS=+stalls puts random pauses on both sides. All that is
# made is in .build, also the results: for `aocq golden check DIR .build/icarus`.
SOURCES := $sources
RESULTS := $results.hex
STALLS ?=
VERILATOR ?= verilator
VERILATOR_FLAGS ?=
WARNINGS ?= $warnings
# Coroutines, for delays in a testbench.
CXX_FLAGS ?= -std=c++20 -fcoroutines

.PHONY: icarus verilator lint clean

icarus: .build/icarus.vvp
	@mkdir -p .build/icarus
	vvp -n .build/icarus.vvp $$(STALLS) +results=.build/icarus/$$(RESULTS) | tee .build/icarus.log
	@grep -q '^PASS' .build/icarus.log

.build/icarus.vvp: $$(SOURCES)
	@mkdir -p .build
	iverilog -g2012 -s testbench -o $$@ $$(SOURCES)

verilator: .build/obj_dir/testbench
	@mkdir -p .build/verilator
	.build/obj_dir/testbench $$(STALLS) +results=.build/verilator/$$(RESULTS) \\
	| tee .build/verilator.log
	@grep -q '^PASS' .build/verilator.log

.build/obj_dir/testbench: $$(SOURCES)
	@mkdir -p .build
	$$(VERILATOR) --binary --timing --output-split 0 $$(WARNINGS) -CFLAGS "$$(CXX_FLAGS)" \\
	$$(VERILATOR_FLAGS) --Mdir .build/obj_dir --top-module testbench -o testbench $$(SOURCES)

lint:
	$$(VERILATOR) --lint-only --timing -Wall --top-module testbench $$(SOURCES)

clean:
	rm -rf .build
""")

_README = Template("""\
# Testbench of op `$op` ($formula)

    make icarus        # Icarus Verilog 11 or newer
    make verilator     # Verilator 5 or newer
    make verilator STALLS=+stalls

Feeds the module `$module` with $elements elements and compares $results results, code by
code, with those of the emulator. It prints how many were checked and the first that differ; the
exit status is not 0 unless all are equal, none is undefined and none too many. What the module gave
is in `.build/icarus` and `.build/verilator`.

- `testbench.sv`: the loops, the memories, the comparison.
- $device
- `*.hex`: for `$$readmemh`, one word a line, two's complement at the width of the tensor's type,
  row-major, images first. `expected.hex` holds the results.

$loops
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModule:
    """A module of the user's: its name, and its source files as text by file name.

    Without sources, a skeleton is written.
    """

    name: str
    sources: Mapping[str, str]


def bench_files(
    vectors: OpVectors, own: OwnModule | None = None, part: Part = Part.WHOLE
) -> dict[str, str]:
    """Return the files of an op's testbench, text by name.

    Parameters
    ----------
    own
        the module to test; without, our units
    part
        what of the op is tested

    Raises
    ------
    InputError
        If the op has no arithmetic or no such part, we have no unit for it, or the module's name
        is none.
    """
    bench = bench_of(vectors, part)
    if own is None:
        module, unused, roms, sources = _units(bench, vectors)
        warnings = "-Wall"
        device = f"`{module}.sv`: our units as one module, its parameters the op's fields."
    else:
        module, unused, roms = own.name, (), bench.roms
        sources = _own_sources(bench, own)
        warnings = "-Wno-fatal"
        device = f"`{next(iter(sources))}`: your module; the skeleton says what each port carries."
    found = {"testbench.sv": bench_text(bench, module, unused), **sources}
    found["Makefile"] = _MAKEFILE.substitute(
        sources=" ".join(found), results=bench.dump_name, warnings=warnings
    )
    found["README.md"] = _readme(bench, module, device)
    return found | _memories(bench, roms, unused)


def _units(
    bench: Bench, vectors: OpVectors
) -> tuple[str, Sequence[str], Sequence[Rom], dict[str, str]]:
    wrapper = wrapper_of(bench, vectors)
    module = f"{bench.formula.lower()}_device"
    text = module_text(bench, module, wrapper.body, wrapper.unused)
    return module, wrapper.unused, wrapper.roms, {f"{module}.sv": text, **unit_files(wrapper.units)}


def unit_files(units: Sequence[str]) -> dict[str, str]:
    """Return the files of our units and of the units that they are made of, by name."""
    found: dict[str, str] = {}
    waiting = [*units]
    while waiting:
        unit = waiting.pop()
        if f"{unit}.sv" not in found:
            text = (files("simulator.rtl") / f"{unit}.sv").read_text(encoding="utf-8")
            found[f"{unit}.sv"] = text
            waiting.extend(_INSTANCE.findall(text))
    return dict(sorted(found.items()))


def _own_sources(bench: Bench, own: OwnModule) -> dict[str, str]:
    if not _IDENTIFIER.fullmatch(own.name) or own.name == "testbench":
        raise InputError(f"module {own.name}: no name that a module can have beside the testbench")
    taken = {"testbench.sv", "Makefile", "README.md"} & own.sources.keys()
    if taken:
        raise InputError(f"source {taken.pop()}: the testbench's own file has this name")
    return {**own.sources} or {f"{own.name}.sv": skeleton_text(bench, own.name)}


def _readme(bench: Bench, module: str, device: str) -> str:
    elements = 1
    for loop in bench.loops:
        elements *= loop.extent
    order = ", ".join(f"{loop.name} ({loop.extent})" for loop in bench.loops)
    loops = f"Elements come in nested loops, the outermost first: {order}."
    if bench.sums:
        loops += " There is one result for each sum over the last loop."
    return _README.substitute(
        op=bench.op,
        formula=bench.formula,
        module=module,
        elements=f"{elements:,}",
        results=f"{bench.result.size:,}",
        device=device,
        loops=loops,
    )


def _memories(bench: Bench, roms: Sequence[Rom], unused: Sequence[str]) -> dict[str, str]:
    found = {"expected.hex": memory_text(bench.result, bench.result_kind)}
    for stream in bench.streams:
        if stream.name not in unused:
            found[f"{stream.name}.hex"] = memory_text(stream.words, stream.kind)
    for rom in roms:
        found[f"{rom.name}.hex"] = memory_text(rom.words, rom.kind)
    return found


def write_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the files into a folder that is there."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
