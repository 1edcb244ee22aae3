# SPDX-License-Identifier: Apache-2.0
"""A whole graph as C: ``network.h``, ``network.c``, and its constants in C or in a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from itertools import accumulate
from pathlib import Path

import numpy as np

from simulator.export.c_arena import ALIGNMENT, Arena, arena_of
from simulator.export.c_calls import function_body, require_integers
from simulator.export.c_structs import tensor_initializer
from simulator.export.c_text import array_lines, c_type, identifier
from simulator.files import replace_file, write_text
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import op_name
from simulator.graph.storage import sha256

# Above this, constants as C text take compilers minutes and gigabytes.
LARGEST_IN_C = 1 << 20
CONSTANTS_NAME = "constants.bin"


class Constants(StrEnum):
    """Where the constants of a network are."""

    ARRAYS = "arrays"  # const arrays in network.c
    FILE = "file"  # little-endian in constants.bin, which main reads


@dataclass(frozen=True, slots=True)
class ExportedC:
    """What was written: sizes in bytes."""

    constants: Constants
    constant_bytes: int
    arena_bytes: int


def export_c(graph: IntGraph, folder: Path, constants: Constants | None = None) -> ExportedC:
    """Write a network in C, and all that it needs to be compiled, into ``folder``.

    ``constants`` is left out for arrays in C up to 1 MiB, and a file above. Without constants there
    is no file, whatever it says.

    Raises
    ------
    InputError
        If an op is not integer arithmetic, or a file cannot be written.
    """
    for op in graph.ops:
        require_integers(op)
    size = sum(codes.nbytes for codes in graph.constants.values())
    where = constants or (Constants.ARRAYS if size <= LARGEST_IN_C else Constants.FILE)
    if size == 0:
        where = Constants.ARRAYS
    network = _Network(graph, arena_of(graph), where)
    write_text(folder / "network.c", "\n".join(network.source()) + "\n")
    write_text(folder / "network.h", "\n".join(network.header()) + "\n")
    write_text(folder / "README.md", "\n".join(network.about()) + "\n")
    if where is Constants.FILE:
        with replace_file(folder / CONSTANTS_NAME) as temporary:
            _write_constants(graph, temporary)
    for name, text in shipped_files().items():
        write_text(folder / name, text)
    return ExportedC(where, size, network.arena.size)


def shipped_files() -> dict[str, str]:
    """Return the files of the C model, ``main.c`` and the Makefile: text by name."""
    model = resources.files("simulator.c_model")
    files = [*model.iterdir(), *(model / "network").iterdir()]
    return {
        file.name: file.read_text(encoding="utf-8")
        for file in sorted(files, key=lambda file: file.name)
        if file.name.endswith((".h", ".c", ".sv")) or file.name == "Makefile"
    }


def _write_constants(graph: IntGraph, path: Path) -> None:
    """Write all constants, each from a multiple of 8 bytes on, little-endian."""
    with path.open("wb") as file:
        for codes in graph.constants.values():
            written = np.ascontiguousarray(codes, codes.dtype.newbyteorder("<")).tobytes()
            file.write(written + bytes(-len(written) % ALIGNMENT))


@dataclass(frozen=True, slots=True)
class _Network:
    graph: IntGraph
    arena: Arena
    constants: Constants

    @property
    def calls(self) -> list[tuple[int, Op]]:
        """The ops that compute or move anything, with their numbers."""
        shared = self.arena.shared
        return [pair for pair in enumerate(self.graph.ops) if pair[1].name not in shared]

    def offsets(self) -> dict[str, int]:
        """Return where each constant begins in the file, by name; the end under an empty one."""
        sizes = [
            -(-codes.nbytes // ALIGNMENT) * ALIGNMENT for codes in self.graph.constants.values()
        ]
        return dict(zip([*self.graph.constants, ""], accumulate(sizes, initial=0), strict=True))

    def header(self) -> Iterator[str]:
        """Yield the lines of ``network.h``."""
        graph = self.graph
        in_file = self.constants is Constants.FILE
        yield f"/* {graph.name} for profile {graph.profile}, graph sha256 {sha256(graph)} */"
        yield from ("#ifndef NETWORK_H", "#define NETWORK_H", "", '#include "aocq.h"', "")
        yield f"#define NETWORK_OUTPUTS {len(graph.outputs)}"
        yield "/* Bytes of constants.bin; 0: the constants are in network.c. */"
        yield f"#define NETWORK_CONSTANTS_BYTES {self.offsets()[''] if in_file else 0}"
        yield ""
        if in_file:
            yield "/* To be filled before the first run; row-major, in the host's byte order. */"
            yield "extern unsigned char network_constants[NETWORK_CONSTANTS_BYTES];"
            yield ""
        yield "/* Write the codes of an image here before each run: the memory is used again. */"
        yield "extern const aocq_result network_input;"
        yield "/* The codes of the outputs after a run, and their names. */"
        yield "extern const aocq_tensor network_output[NETWORK_OUTPUTS];"
        yield "extern const char *const network_output_name[NETWORK_OUTPUTS];"
        yield "/* The names of all ops in order, then NULL. */"
        yield "extern const char *const network_op_name[];"
        yield ""
        yield "/* Called behind each op: its name, its result, how many codes did not fit. */"
        yield "typedef void (*network_observer)(void *context, const char *op,"
        yield "                                 const aocq_tensor *result, uint64_t misfits);"
        yield ""
        yield "/* Compute one image; observer: NULL for none. Memory is static: a run at a time. */"
        yield "void network_run(network_observer observer, void *context);"
        yield from ("", "#endif")

    def source(self) -> Iterator[str]:
        """Yield the lines of ``network.c``."""
        graph = self.graph
        yield f"/* {graph.name} for profile {graph.profile}, graph sha256 {sha256(graph)} */"
        yield '#include "network.h"'
        yield ""
        yield from self._memory()
        place = self._places()
        for number, op in self.calls:
            yield f"/* {op.name}: {op_name(op)} */"
            yield f"static uint64_t op_{number}(void)"
            yield from ("{", *function_body(op, graph, place.__getitem__), "}", "")
        yield from self._run(place)

    def _memory(self) -> Iterator[str]:
        """Yield constants and the arena of activations."""
        if self.constants is Constants.FILE:
            yield "unsigned char network_constants[NETWORK_CONSTANTS_BYTES];"
            yield ""
        else:
            names = self._constant_names()
            for name, codes in self.graph.constants.items():
                kind = self.graph.tensors[name].code_type
                yield f"static const {c_type(kind)} {names[name]}[{codes.size}] = {{ /* {name} */"
                yield from (*array_lines(codes), "};", "")
        yield "/* Activations: those that are never needed together share bytes. */"
        yield f"static unsigned char arena[{self.arena.size}];"
        yield ""

    def _constant_names(self) -> dict[str, str]:
        """Return the C name of each constant; the number keeps names apart."""
        return {
            name: f"constant_{number}_{identifier(name)}"
            for number, name in enumerate(self.graph.constants)
        }

    def _places(self) -> dict[str, str]:
        """Return the address of every tensor."""
        if self.constants is Constants.FILE:
            found = {name: f"network_constants + {at}" for name, at in self.offsets().items()}
        else:
            found = self._constant_names()
        return found | {name: f"arena + {at}" for name, at in self.arena.offset.items()}

    def _run(self, place: dict[str, str]) -> Iterator[str]:
        """Yield the input, the outputs, and the function that calls one op after the other."""
        tensors, outputs = self.graph.tensors, self.graph.outputs
        source = tensors[self.graph.inputs[0]]
        codes = tensor_initializer(source, place[source.name])
        yield f"const aocq_result network_input = {codes};"
        yield "const aocq_tensor network_output[NETWORK_OUTPUTS] = {"
        yield from (f"    {tensor_initializer(tensors[name], place[name])}," for name in outputs)
        yield "};"
        names = ", ".join(f'"{name}"' for name in outputs)
        yield f"const char *const network_output_name[NETWORK_OUTPUTS] = {{{names}}};"
        yield "const char *const network_op_name[] = {"
        yield from (f'    "{op.name}",' for op in self.graph.ops)
        yield from ("    NULL,", "};")
        yield ""
        yield "void network_run(network_observer observer, void *context)"
        yield "{"
        yield "    uint64_t misfits;"
        yield "    (void)misfits;"
        for number, op in enumerate(self.graph.ops):
            yield from self._step(number, op, place[op.name])
        yield "}"

    def _step(self, number: int, op: Op, place: str) -> Iterator[str]:
        shared = op.name in self.arena.shared
        yield f"    misfits = {0 if shared else f'op_{number}()'}; /* {op.name} */"
        yield "    if (observer != NULL) {"
        codes = tensor_initializer(self.graph.result(op), place)
        yield f"        const aocq_tensor result = {codes};"
        yield f'        observer(context, "{op.name}", &result, misfits);'
        yield "    }"

    def about(self) -> Iterator[str]:
        """Yield the lines of ``README.md``."""
        graph = self.graph
        source = graph.tensors[graph.inputs[0]]
        outputs = [graph.tensors[name] for name in graph.outputs]
        at = f" {CONSTANTS_NAME}" if self.constants is Constants.FILE else ""
        yield f"# {graph.name} in C"
        yield ""
        yield f"Profile {graph.profile}, graph sha256 {sha256(graph)}, {len(graph.ops)} ops."
        yield "Every integer equals that of the emulator."
        yield ""
        yield "    make"
        yield f"    ./network{at} < input.bin > output.bin"
        yield f"    ./network{at} --tap NAME < input.bin > codes.bin    # the result of one op"
        yield ""
        yield f"- `input.bin`: images of {source.name} {list(source.shape)}, codes {source.type} as"
        yield f"  little-endian {source.code_type.dtype.name}, row-major, without a header."
        for tensor in outputs:
            yield f"- output: {tensor.name} {list(tensor.shape)}, codes {tensor.type} as"
            yield f"  little-endian {tensor.code_type.dtype.name}; outputs follow each other."
        yield f"- `network_run` needs {self.arena.size} bytes for activations, all static; no heap,"
        yield "  no float, no library but `memcpy`."
        yield "- `aocq_dpi.sv`, `aocq_dpi.c`: the units for SystemVerilog; `make` leaves them out."
        yield "- `make sanitize` compiles with gcc's or clang's check for undefined behaviour."
