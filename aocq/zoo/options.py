# SPDX-License-Identifier: Apache-2.0
"""Options of a network beside its timm name: constructor arguments, preprocessing.

Written as ``KEY=VALUE``, as timm's own scripts take ``--model-kwargs``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from math import floor, isfinite
from types import MappingProxyType
from typing import Any

from simulator.errors import InputError
from simulator.preprocessing import CHANNELS, KEYS, WANTED, is_possible
from simulator.settings import typed

# Arguments of ``timm.create_model`` that have an option of their own, or would fetch other weights.
RESERVED = MappingProxyType(
    {
        "num_classes": "pass --num-classes",
        "pretrained": "pass --weights FILE, or no --weights",
        "checkpoint_path": "pass --weights FILE",
        "pretrained_cfg": "pass --preprocessing",
        "pretrained_cfg_overlay": "pass --preprocessing",
    }
)


EXAMPLES = MappingProxyType(
    {"--model-kwargs": "img_size=32", "--preprocessing": "mean=0.485,0.456,0.406"}
)


def parse_settings(texts: Iterable[str], option: str) -> dict[str, Any]:
    """Return the settings of a repeated option; each text holds one ``KEY=VALUE`` or several.

    Values are Python literals, ``a,b,c`` being a tuple; anything else is a word.

    Raises
    ------
    ValueError
        If a text is no setting, a key is given twice, or a number is not finite.
    """
    found: dict[str, Any] = {}
    for text in texts:
        for part in re.split(r"\s+(?=\w+=)", text.strip()):
            key, equals, value = part.partition("=")
            if not equals or not key.isidentifier():
                raise ValueError(f"{option} {part!r}: wanted KEY=VALUE, e.g. {EXAMPLES[option]}")
            if key in found:
                raise ValueError(f"{option} {part!r}: {key} is given twice")
            found[key] = _literal(value.strip())
            if not _is_finite(found[key]):
                raise ValueError(f"{option} {part!r}: holds a number that is not finite")
    return found


def _is_finite(value: Any) -> bool:
    """Return whether no number in a literal is infinite, as ``1e999`` is: no record holds those."""
    if isinstance(value, (tuple, list, set)):
        return all(map(_is_finite, value))
    if isinstance(value, dict):
        return all(map(_is_finite, (*value, *value.values())))
    return not isinstance(value, (float, complex)) or isfinite(abs(value))


def _literal(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return tuple(value) if isinstance(value, list) else value


def check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise InputError where an argument has an option of its own, or images are no such."""
    for key in arguments:
        if key in RESERVED:
            raise InputError(f"model {name}: --model-kwargs {key}: {RESERVED[key]} instead")
    channels = arguments.get("in_chans", CHANNELS[0])
    if type(channels) is not int or channels not in CHANNELS:
        raise InputError(
            f"model {name}: --model-kwargs in_chans={channels}: images have 1 channel (gray) or 3 "
            "(RGB)"
        )


def check_keys(name: str, wanted: Mapping[str, Any]) -> None:
    """Raise InputError where timm's data configuration has no such key."""
    for key in wanted:
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise InputError(f"model {name}: --preprocessing {key}: unknown; choose one of {known}")


def preprocessing(
    name: str,
    usual: Mapping[str, Any],
    arguments: Mapping[str, Any],
    wanted: Mapping[str, Any],
) -> dict[str, Any]:
    """Return timm's data configuration of a model with what was asked for instead.

    Images have the size and channels that the constructor was given (``img_size``, ``in_chans``),
    unless ``wanted`` says. Where they have another number of channels than timm's, each has the
    average of timm's mean and of its std, as in timm's own evaluation.

    Raises
    ------
    InputError
        If a key is unknown or its value of another kind.
    """
    found = dict(usual)
    channels, height, width = usual["input_size"]
    size = arguments.get("img_size")
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
    found["input_size"] = (arguments.get("in_chans", channels), height, width)
    check_keys(name, wanted)
    # The number of channels comes first: mean and std are held against it.
    for key, value in sorted(wanted.items(), key=lambda item: item[0] != "input_size"):
        found[key] = _checked(name, key, value, found["input_size"][0])
    channels = found["input_size"][0]
    for key in ("mean", "std"):
        if len(found[key]) != channels:
            found[key] = (sum(found[key]) / len(found[key]),) * channels
    return found


def _checked(name: str, key: str, value: Any, channels: int) -> Any:
    if channels == 1 and key in {"mean", "std"} and isinstance(value, (int, float)):
        value = (value,)  # what is written without a comma
    if not is_possible(key, value, channels):
        given = typed({key: value})
        raise InputError(f"model {name}: --preprocessing {given}: {WANTED[key]}")
    return value


def channels_averaged(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return what to say where mean or std of gray images is made of timm's three; or nothing."""
    keys = [key for key in ("mean", "std") if key not in wanted]
    if found["input_size"][0] != 1 or not keys:
        return ""
    figures = " and ".join(f"{key} {found[key][0]:.4g}" for key in keys)
    return (
        f"{name}: images are read as gray, with {figures}, the average of timm's channels; if the "
        f"network was trained with others, pass --preprocessing {' '.join(f'{k}=…' for k in keys)}"
    )


def crop_kept(
    name: str,
    arguments: Mapping[str, Any],
    wanted: Mapping[str, Any],
    found: Mapping[str, Any],
) -> str:
    """Return what to say where images of another size are cut as those of timm's own; or nothing.

    timm's ``crop_pct`` belongs to large photographs: images are scaled up by it and lose their rim.
    """
    resized = "img_size" in arguments or "input_size" in wanted
    if not resized or "crop_pct" in wanted or found["crop_pct"] == 1:
        return ""
    _, height, width = found["input_size"]
    larger = " x ".join(str(floor(side / found["crop_pct"])) for side in (height, width))
    return (
        f"{name}: timm's crop_pct is {found['crop_pct']:g}: images are fitted to {larger} pixels, "
        f"of which the network sees {height} x {width}; for images of its own size, pass "
        "--preprocessing crop_pct=1"
    )
