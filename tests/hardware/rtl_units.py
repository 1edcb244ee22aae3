# SPDX-License-Identifier: Apache-2.0
"""The RTL units as files, parameters that reach all of their branches, and their ROMs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import simulator.rtl

FOLDER = Path(simulator.rtl.__file__).parent
SOURCES = sorted(FOLDER.glob("*.sv"))
NAMES = [source.stem for source in SOURCES]
PARTS = {  # of units
    *("fit", "accumulator_level", "layernorm_root", "divider", "square_root", "hadamard_factor"),
    *("delay", "delay_line", "skew", "partial_sums"),
    *("output_stationary_element", "output_stationary_array"),
    *("weight_stationary_element", "weight_stationary_array"),
}


Signed = Mapping[tuple[int | str, ...], str]  # nets by their bits


@dataclass(frozen=True, slots=True)
class Elaborated:
    """A unit with parameters, and the ROMs that it reads: name, entries, bits of a word."""

    unit: str
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    memories: tuple[tuple[str, int, int], ...] = ()
    row: int = 1  # elements of a row, or of a sum

    def sources(self, folder: Path = FOLDER) -> list[Path]:
        """Return the files of the unit and of what it is made of; Yosys opens ROMs of others."""
        found, left = set[str](), {self.unit}
        while left:
            found |= left
            texts = [folder.joinpath(f"{name}.sv").read_text() for name in left]
            used = {name for text in texts for name in re.findall(r"^ +(\w+) #\(", text, re.M)}
            left = used - found
        return sorted(folder / f"{name}.sv" for name in found)

    def __str__(self) -> str:
        return " ".join([self.unit, *(f"{k}={v}" for k, v in self.parameters.items())])

    def write_memories(self, folder: Path) -> None:
        """Write words without a pattern into all ROMs, none of them 0."""
        for name, entries, bits in self.memories:
            words = [(0x9E3779B97F4A7C15 * (i + 1) >> 7) % (1 << bits) | 1 for i in range(entries)]
            folder.joinpath(f"{name}.hex").write_text("".join(f"{word:x}\n" for word in words))


_FACTORS = ("multiplier_a", 1, 31), ("multiplier_b", 1, 31)
_TABLE = (("table", 256, 8),)
_CHANNEL = (
    ("channel_multiplier", 64, 8),
    ("channel_shift", 64, 1),
    ("gamma", 64, 32),
    ("beta", 64, 32),
)
# Words that are numbers of pairs, whatever they are: of 6 and of 10.
_SUBTRACTED = {12: (("subtracted_12", 10, 2),), 20: (("subtracted_20", 36, 3),)}


def _rotated(channels: int, bits: int = 31) -> tuple[tuple[str, int, int], ...]:
    """Return the memories of a rotation, with that which the default parameters name."""
    return ("multiplier", channels, bits), ("shift", channels, 5), *_SUBTRACTED[12]


# As the layers of the demo network have them, which is what the parameters' defaults are.
DEFAULTS = {
    **{name: Elaborated(name) for name in NAMES},
    "add": Elaborated("add", memories=_FACTORS),
    "lookup": Elaborated("lookup", memories=_TABLE),
    "softmax_exp_table": Elaborated("softmax_exp_table", memories=(("table", 256, 30),), row=17),
    "softmax_ita": Elaborated("softmax_ita", row=40),
    "deferred_softmax": Elaborated("deferred_softmax", row=17),
    "normalized_mac": Elaborated("normalized_mac", memories=(("levels", 16, 8),), row=9),
    "layernorm": Elaborated("layernorm", memories=_CHANNEL, row=64),
    "mac": Elaborated("mac", row=9),
    "hadamard": Elaborated("hadamard", memories=_rotated(64), row=64),
    "hadamard_factor": Elaborated("hadamard_factor", memories=_SUBTRACTED[12]),
    "group_scale": Elaborated("group_scale", row=8),
    "group_quantize": Elaborated("group_quantize", row=8),
    # Parts of units that are synthesized whole.
    "output_stationary_array": Elaborated("output_stationary_array", {"ROWS": 2, "COLUMNS": 2}),
    "weight_stationary_array": Elaborated("weight_stationary_array", {"ROWS": 2, "COLUMNS": 2}),
}
_LEVELS: dict[str, str | int] = {
    "INNER_LEVELS": 2,
    "INNER_GROUPS": f"128'd{(8 << 32) + 2}",
    "INNER_BITS": f"128'd{(16 << 32) + 14}",
    "INNER_OVERFLOWS": f"128'd{2 << 32}",
    "ACCUMULATOR_BITS": 17,
    "ACCUMULATOR_OVERFLOW": 0,
    "BIAS_BITS": 14,
}
_INNER_LEVELS = {key: value for key, value in _LEVELS.items() if key != "BIAS_BITS"}
_NARROW_NORM: dict[str, str | int] = {
    "CHANNELS": 6,
    "CHANNEL_MULTIPLIER_BITS": 3,
    "GAMMA_BITS": 10,
    "BETA_BITS": 9,
    "BETA_SHIFT": 4,
    "EPSILON": "64'd5",
    "SQRT_FRACTION_BITS": 3,
    "RECIPROCAL_BITS": 26,
    "NORMALIZED_FRACTION_BITS": 8,
    "SHIFT": 10,
    "RADICAND_WIDTH": 36,
    "NORMALIZED_PRODUCT_WIDTH": 36,
    "NORMALIZED_WIDTH": 13,
    "SCALED_WIDTH": 26,
}
_NARROW_MEMORIES = (
    ("channel_multiplier", 6, 3),
    ("channel_shift", 6, 1),
    ("gamma", 6, 10),
    ("beta", 6, 9),
)
_NARROW_FACTORS: dict[str, str | int] = {
    "MULTIPLIER_BITS": 6,
    "SCALED_WIDTH": 42,
    "ZERO_POINT_BITS": 7,
}
_NARROW_SCALER: dict[str, str | int] = {
    "ROW_FACTOR_BITS": 4,
    "COLUMN_FACTOR_BITS": 3,
    "BIAS_BITS": 7,
    "ROW_SCALED_WIDTH": 19,
    "BIASED_WIDTH": 22,
}
_SMALL_TABLE = {"IN_BITS": 5, "TABLE_BITS": 8, "RECIPROCAL_BITS": 20, "SHIFT": 12, "COLUMNS": 9}
_SMALL_MEMORY = (("table", 32, 8),)
_SMALL_ARRAY: dict[str, str | int] = {
    "ROWS": 3,
    "COLUMNS": 2,
    "A_BITS": 5,
    "B_BITS": 4,
    "ACCUMULATOR_BITS": 11,
    "EXTENT_BITS": 3,
}
_ONE_ELEMENT = {**_SMALL_ARRAY, "ROWS": 1, "COLUMNS": 1}
OTHERS = [
    *(
        Elaborated(
            "requantizer",
            {
                "ROUNDING": rounding,
                "OVERFLOW": rounding % 3,
                "ZERO_POINT_STAGE": rounding % 2,
                "LEFT_SHIFT": rounding // 3,
                "OUT_SIGNED": rounding // 2 % 2,
                "ACCUMULATOR_BITS": 12 + 5 * rounding,
                **_NARROW_FACTORS,
            },
        )
        for rounding in range(6)
    ),
    Elaborated("requantizer", {"DOUBLE_ROUNDING": 1, "OUT_BITS": 16, **_NARROW_FACTORS}),
    Elaborated("requantizer", {"DOUBLE_ROUNDING": 2, **_NARROW_FACTORS}),
    Elaborated("mac", {**_LEVELS, "BIAS_STAGE": 1}, row=9),
    Elaborated("mac", {**_LEVELS, "SHIFTED_LEVEL": 1, "EXPONENT_BITS": 3}, row=9),
    Elaborated("mac", {**_LEVELS, "SHIFTED_LEVEL": 0, "EXPONENT_BITS": 4}, row=9),
    Elaborated("mac", {**_LEVELS, "SHIFTED_LEVEL": 2, "EXPONENT_BITS": 5}, row=9),
    Elaborated("sum_scaler", {"ACCUMULATOR_BITS": 14, "BESIDE_BITS": 9, **_NARROW_SCALER}),
    Elaborated("mac", {"A_SIGNED": 0, "B_BITS": 4, "BIAS_BITS": 12, "ACCUMULATOR_BITS": 14}, row=9),
    Elaborated(
        "add",
        {"ROUNDING": 4, "B_BITS": 1, "OUT_ZERO_POINT": -3, "MULTIPLIER_BITS": 9, "SHIFT": 8},
        memories=(("multiplier_a", 1, 9), ("multiplier_b", 1, 9)),
    ),
    Elaborated(
        "add",
        {"CHANNELS": 3, "A_SIGNED": 0, "A_ZERO_POINT": 9, "MULTIPLIER_BITS": 8, "SHIFT": 7}
        | {"SCALED_WIDTH": 20},
        memories=(("multiplier_a", 3, 8), ("multiplier_b", 3, 8)),
        row=3,
    ),
    Elaborated("lookup", {"IN_SIGNED": 0, "OUT_BITS": 16}, memories=(("table", 256, 16),)),
    Elaborated("softmax_exp_table", {**_SMALL_TABLE, "ROUNDING": 5}, memories=_SMALL_MEMORY, row=9),
    Elaborated(
        "softmax_exp_table",
        {**_SMALL_TABLE, "NORMALISATION": 1, "OUT_SIGNED": 1, "OUT_ZERO_POINT": -128},
        memories=_SMALL_MEMORY,
        row=9,
    ),
    Elaborated("softmax_ita", {"COLUMNS": 20, "OCTAVE_BITS": 0, "GROUP": 4}, row=11),
    Elaborated("softmax_ita", {"COLUMNS": 9, "GROUP": 99, "LARGEST": 127, "IN_BITS": 7}, row=9),
    Elaborated(
        "deferred_softmax", {"COLUMNS": 9, "SHIFT": 0, "MULTIPLIER": 1, "OUT_BITS": 8}, row=9
    ),
    Elaborated("deferred_softmax", {"IN_SIGNED": 0, "MULTIPLIER": 23, "SHIFT": 45}, row=5),
    Elaborated(
        "normalized_mac",
        {
            **_INNER_LEVELS,
            "A_BITS": 3,
            "RECIPROCAL_BITS": 9,
            "SUM_WIDTH": 12,
            "NORMALIZED_WIDTH": 20,
        },
        memories=(("levels", 8, 8),),
        row=5,
    ),
    Elaborated("layernorm", _NARROW_NORM, memories=_NARROW_MEMORIES, row=6),
    Elaborated(
        "layernorm",
        {**_NARROW_NORM, "ROOT_STEPS": 3, "IN_SIGNED": 0, "IN_ZERO_POINT": 77, "ROUNDING": 1},
        memories=_NARROW_MEMORIES,
        row=6,
    ),
    *(
        Elaborated(f"systolic_{dataflow}_stationary", {**_SMALL_ARRAY, **size, "OVERLAP": overlap})
        for dataflow, size in (("output", {}), ("weight", {"VECTORS": 8}))
        for overlap in (0, 1)
    ),
    Elaborated(
        "hadamard",
        {"PALEY": 12, "SYLVESTER": 2, "CHANNELS": 48, "MULTIPLIER_BITS": 6, "SCALED_WIDTH": 42}
        | {"ROUNDING": 5, "IN_ZERO_POINT": -7},
        memories=_rotated(48, 6),
        row=48,
    ),
    Elaborated(
        "hadamard",
        {"PALEY": 20, "SYLVESTER": 1, "CHANNELS": 20, "MULTIPLIER_BITS": 6, "SCALED_WIDTH": 42}
        | {"IN_SIGNED": 0, "OVERFLOW": 2, "SUBTRACTED_FILE": '"subtracted_20.hex"'},
        memories=(*_rotated(20, 6), *_SUBTRACTED[20]),
        row=20,
    ),
    Elaborated(
        "hadamard",
        {"SYLVESTER": 1, "CHANNELS": 3, "MULTIPLIER_BITS": 6, "SCALED_WIDTH": 42, "LEFT_SHIFT": 1},
        memories=_rotated(3, 6),
        row=3,
    ),
    Elaborated("group_scale", {"IN_SIGNED": 0, "IN_ZERO_POINT": 200}, row=5),
    Elaborated("group_scale", {"IN_BITS": 16, "BITS": 4, "OUT_BITS": 4}, row=3),
    Elaborated(
        "group_quantize",
        {"NUMERATOR": "64'd28672", "RECIPROCAL_WIDTH": 15, "SHIFT": 11, "SCALED_WIDTH": 24}
        | {"ROUNDING": 4, "A_ZERO_POINT": 9, "OUT_ZERO_POINT": -2},
        row=4,
    ),
    Elaborated("group_shift", {"ROUNDING": 1, "OVERFLOW": 1, "A_ZERO_POINT": -9}, row=4),
    Elaborated("group_shift", {"A_BITS": 16, "EXPONENT_BITS": 5, "OUT_BITS": 8, "OVERFLOW": 2}),
    Elaborated("systolic_output_stationary", _ONE_ELEMENT),
    Elaborated("systolic_weight_stationary", {**_ONE_ELEMENT, "VECTORS": 8}),
]


def false_extensions(netlist: Path) -> list[str]:
    """Return where a design that Yosys read takes a signed number for an unsigned one.

    An operand that has an unsigned part makes the whole expression unsigned: ``>>>`` then shifts
    zeros in, and narrower operands are extended by zeros. So no arithmetic shift may be unsigned,
    nothing may be a signed net with zeros above, and no cell may extend a signed net by zeros.
    """
    found = []
    for name, module in json.loads(netlist.read_text())["modules"].items():
        signed = {
            tuple(net["bits"]): wire
            for wire, net in module["netnames"].items()
            if net.get("signed") and any(isinstance(bit, int) for bit in net["bits"])
        }

        def below_zeros(bits: list[int | str], signed: Signed = signed) -> str | None:
            width = len(bits)
            while width and bits[width - 1] == "0":
                width -= 1
            return signed.get(tuple(bits[:width])) if 1 < width < len(bits) else None

        for wire, net in module["netnames"].items():
            extended = below_zeros(net["bits"])
            if extended:
                found.append(f"{name}: {wire} is {extended} with zeros above")
        for cell, parts in module["cells"].items():
            given = {
                key: int(value, 2)
                for key, value in parts["parameters"].items()
                if key.endswith(("_SIGNED", "_WIDTH")) and set(value) <= {"0", "1"}
            }
            place = f"{name}: {parts['type']} at {parts['attributes'].get('src', cell)}"
            if parts["type"] == "$sshr" and not given["A_SIGNED"]:
                found.append(f"{place} shifts an unsigned number")
            operands = {port: bits for port, bits in parts["connections"].items() if port in "AB"}
            widest = max([given.get("Y_WIDTH", 0), *map(len, operands.values())])
            for port, bits in operands.items():
                extended = below_zeros(bits)
                if f"{port}_SIGNED" in given and not given[f"{port}_SIGNED"]:
                    shifted = parts["type"] in {"$shl", "$sshl", "$shr", "$sshr"}
                    if len(bits) < widest and not shifted:
                        extended = extended or signed.get(tuple(bits))
                if extended:
                    found.append(f"{place} extends {extended} by zeros")
    return found
