# SPDX-License-Identifier: Apache-2.0
"""Vendors' words for rounding and overflow, and what they mean in ours.

Sources: TOSA specification (RESCALE), CMSIS-NN (``arm_nnsupportfunctions.h``), Arm Vela 5.2
(Ethos-U ``RoundMode``), AMD UG1079 (AI Engine ``rnd_mode``), AMD UG1399 (Vitis HLS ``ap_fixed``),
RISC-V "V" (``vxrm``), Apache TVM VTA.
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
        # AMD Vitis HLS, ap_fixed
        "ap_rnd": {"rounding": "half_up"},
        "ap_rnd_min_inf": {"rounding": "half_down"},
        "ap_rnd_inf": {"rounding": "half_away"},
        "ap_rnd_conv": {"rounding": "half_even"},
        "ap_trn": {"rounding": "floor"},
        "ap_trn_zero": {"rounding": "toward_zero"},
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
    {
        "clip": "saturate",
        "clamp": "saturate",
        "symmetric": "saturate_symmetric",
        "none": "wrap",
        # AMD Vitis HLS, ap_fixed
        "ap_sat": "saturate",
        "ap_sat_sym": "saturate_symmetric",
        "ap_wrap": "wrap",
    }
)
# Words of vendors for what no profile can say, and what each means.
WITHOUT_A_FORM: Mapping[str, str] = MappingProxyType(
    {
        "ap_rnd_zero": "ties to 0",
        "ap_sat_zero": "0 in place of results outside their type",
        "ap_wrap_sm": "wraps magnitudes and keeps signs",
    }
)


def normalised(rescale: Any) -> Any:
    """Replace vendors' words in a table ``[rescale]`` by ours; leave what is not a table alone.

    Raises
    ------
    ValueError
        If a word stands for two roundings and ``double_rounding`` says otherwise, or for what no
        profile can say.
    """
    if not isinstance(rescale, Mapping):
        return rescale
    table = dict(rescale)
    for key in ("rounding", "overflow"):
        _refuse_without_a_form(key, table.get(key))
    word = table.get("rounding")
    found = ROUNDING_ALIASES.get(word.lower()) if isinstance(word, str) else None
    for key, value in (found or {}).items():
        if key != "rounding" and table.get(key, value) != value:
            raise ValueError(f"rounding = {word!r} means {key} = {value!r}, not {table[key]!r}")
        table[key] = value
    if "overflow" in table:
        table["overflow"] = normalised_overflow(table["overflow"])
    return table


def normalised_overflow(word: Any) -> Any:
    """Replace a vendor's word for overflow by ours; leave anything else alone.

    Raises
    ------
    ValueError
        If the word stands for what no profile can say.
    """
    _refuse_without_a_form("overflow", word)
    return OVERFLOW_ALIASES.get(word.lower(), word) if isinstance(word, str) else word


def _refuse_without_a_form(key: str, word: Any) -> None:
    if isinstance(word, str) and word.lower() in WITHOUT_A_FORM:
        raise ValueError(
            f"{key} = {word!r} ({WITHOUT_A_FORM[word.lower()]}): the emulator has no such "
            f"{key}; choose the nearest of its own"
        )
