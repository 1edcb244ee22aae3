# SPDX-License-Identifier: Apache-2.0
"""Vendors' words for rounding and overflow, and what they mean in ours.

Sources: TOSA specification (RESCALE), CMSIS-NN (``arm_nnsupportfunctions.h``), Arm Vela 5.2
(Ethos-U ``RoundMode``), AMD UG1079 (AI Engine ``rnd_mode``), RISC-V "V" (``vxrm``), Apache TVM VTA.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_TWICE = {"rounding": "half_up", "double_rounding": "symmetric"}

# In lower case. One word may decide two keys.
ROUNDING_ALIASES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        # TOSA
        "single_round": {"rounding": "half_up", "double_rounding": "none"},
        "double_round": _TWICE,
        # TFLite, gemmlowp, CMSIS-NN
        "tfl": _TWICE,
        "tflite_single_rounding": {"rounding": "half_up", "double_rounding": "none"},
        "cmsis_nn_use_single_rounding": {"rounding": "half_up", "double_rounding": "none"},
        "arm_nn_truncate": {"rounding": "floor"},
        # Arm Ethos-U
        "natural": {"rounding": "half_up", "double_rounding": "none"},
        "truncate": {"rounding": "toward_zero"},
        "truncate_to_lower": {"rounding": "floor"},
        "dbl": _TWICE,
        "double_symmetric": _TWICE,
        "double_asymmetric": {"rounding": "half_up", "double_rounding": "asymmetric"},
        "symmetric": {"rounding": "half_away"},
        # AMD AI Engine
        "positive_inf": {"rounding": "half_up"},
        "negative_inf": {"rounding": "half_down"},
        "symmetric_inf": {"rounding": "half_away"},
        "conv_even": {"rounding": "half_even"},
        # RISC-V "V"
        "rnu": {"rounding": "half_up"},
        "rne": {"rounding": "half_even"},
        "rdn": {"rounding": "floor"},
        # IEEE 754, C
        "roundtiestoeven": {"rounding": "half_even"},
        "roundtiestoaway": {"rounding": "half_away"},
        "round": {"rounding": "half_away"},
        # VTA
        "shr": {"rounding": "floor"},
    }
)
OVERFLOW_ALIASES: Mapping[str, str] = MappingProxyType(
    {"clip": "saturate", "clamp": "saturate", "symmetric": "saturate_symmetric", "none": "wrap"}
)


def normalised(rescale: Any) -> Any:
    """Replace vendors' words in a table ``[rescale]`` by ours; leave what is not a table alone.

    Raises
    ------
    ValueError
        If a word stands for two roundings and ``double_rounding`` says otherwise.
    """
    if not isinstance(rescale, Mapping):
        return rescale
    table = dict(rescale)
    word = table.get("rounding")
    found = ROUNDING_ALIASES.get(word.lower()) if isinstance(word, str) else None
    for key, value in (found or {}).items():
        if key != "rounding" and table.get(key, value) != value:
            raise ValueError(f"rounding = {word!r} means {key} = {value!r}, not {table[key]!r}")
        table[key] = value
    overflow = table.get("overflow")
    if isinstance(overflow, str):
        table["overflow"] = OVERFLOW_ALIASES.get(overflow.lower(), overflow)
    return table
