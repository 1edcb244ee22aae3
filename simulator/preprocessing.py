# SPDX-License-Identifier: Apache-2.0
"""Preprocessing of images in timm's words, and its possible values.

timm's evaluation transform: resize by ``interpolation`` so that a crop of ``crop_pct`` has
``input_size``, crop by ``crop_mode``, divide by 255, subtract ``mean``, divide by ``std``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

LARGEST = 1e9  # of what any of the settings can be
CHANNELS = (1, 3)  # gray, RGB: what image files are read as
# Of timm's data configuration.
KEYS = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
WORDS = MappingProxyType(
    {
        "interpolation": ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"),
        "crop_mode": ("center", "squash", "border"),
    }
)
_OF_PIXELS = "wanted one number for each channel, of pixels on 0..1 (not 0..255), e.g. "
WANTED = MappingProxyType(
    {
        "input_size": "wanted channels, height and width, e.g. input_size=3,32,32; images have "
        "1 channel (gray) or 3 (RGB)",
        "crop_pct": "wanted a number above 0 and at most 1, e.g. crop_pct=0.9",
        "mean": _OF_PIXELS + "mean=0.485,0.456,0.406; from -1 to 1",
        "std": _OF_PIXELS + "std=0.229,0.224,0.225; above 0 and at most 1",
        **{key: f"wanted {' or '.join(words)}" for key, words in WORDS.items()},
    }
)


def is_possible(key: str, value: Any, channels: int) -> bool:
    """Return whether ``value`` can be the setting ``key`` for images of so many channels."""
    if key in WORDS:
        return value in WORDS[key]
    if key == "crop_pct":
        return _is_number(value) and 0 < value <= 1
    many = isinstance(value, (tuple, list)) and all(map(_is_number, value))
    if key == "input_size":
        whole = many and len(value) == 3 and all(isinstance(x, int) and x > 0 for x in value)
        return whole and value[0] in CHANNELS
    if not many or len(value) != channels:
        return False
    return all(0 < x <= 1 for x in value) if key == "std" else all(abs(x) <= 1 for x in value)


def preprocessing_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of a complete configuration, a sentence for each key."""
    for key in KEYS:
        if key not in settings:
            yield f"{key}: missing; {WANTED[key]}"
    for key in settings:
        if key not in KEYS:
            yield f"{key}: unknown; the keys are {', '.join(KEYS)}"
    size = settings.get("input_size")
    sound = is_possible("input_size", size, 0)
    for key, value in settings.items():
        channels = size[0] if sound and size is not None else 0
        told_already = not sound and key in {"mean", "std"}
        if key in KEYS and not told_already and not is_possible(key, value, channels):
            yield f"{key} = {value!r}: {WANTED[key]}"


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and -LARGEST < value < LARGEST  # not a number fails both
