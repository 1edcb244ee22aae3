# SPDX-License-Identifier: Apache-2.0
"""Decoding of image files to 8-bit pixels: known formats, and the meaning of each pixel mode.

What is kept is what timm reads: the first frame, without alpha, color profile or EXIF orientation.
What has no stated range, or would be black on the range that it has, is refused.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from aocq.data.entries import what_it_is
from simulator.errors import InputError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
# Pillow holds a pixel in four bytes; this is where it refuses by default, too.
LARGEST = 178_956_970
LONGEST = 65_535  # of JPEG and GIF; decoders take very long for rows of millions of pixels
# 12 bits of 16. What stays below is a sensor's 10 or 12 bits, and nearly black on 0..65535.
FAINTEST_PEAK = 4096
MODES = MappingProxyType({1: "L", 3: "RGB"})  # what images are converted to, by channels

# How files of other kinds begin: (offset, bytes, what it is).
SIGNATURES = (
    (0, b"%!PS", "PostScript (EPS)"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (0, b"%PDF", "a PDF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x00\x00\x01\x00", "an icon (ICO)"),
    (128, b"DICM", "DICOM"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"version https://git-lfs", "a Git LFS pointer: `git lfs pull` fetches the file itself"),
    *((0, magic, "a web page or XML") for magic in (b"<!", b"<?xml", b"<html", b"<HTML", b"<svg")),
    *((0, b"P%d" % number, "PNM") for number in range(1, 8)),
)


class BadImageError(InputError):
    """An image file that cannot be decoded, and why."""

    def __init__(self, text: str, path: Path, reason: str) -> None:
        super().__init__(text)
        self.path, self.reason = path, reason


def open_image(path: Path, channels: int = 3) -> Image.Image:
    """Decode a file completely, as RGB or (one channel) gray with 8 bits per channel.

    Raises
    ------
    BadImageError
        If it cannot be read, is no image of :data:`FORMATS`, is truncated, has more than
        :data:`LARGEST` pixels or a side longer than :data:`LONGEST`, or pixels of unknown range.
    """
    target = MODES[channels]
    _silence_pillow()
    try:
        return _decoded(path, target)
    except Exception as error:  # of a damaged file, Pillow's plugins raise whatever comes
        raise bad_image(path, _reason(error)) from error


def size_of(path: Path) -> tuple[int, int] | None:
    """Return width and height of an image file by its header; None where it has none to read."""
    _silence_pillow()
    if what_it_is(path) is not None:
        return None
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except Exception:  # of a damaged file Pillow raises whatever comes, and decoding will tell
        return None


def bad_image(path: Path, reason: str) -> BadImageError:
    """Return the error that names a file, why it is none, and the ways out."""
    return BadImageError(
        f"{path}: cannot be decoded ({reason}); replace it, or pass --skip-bad-images to leave "
        "such files out and count them",
        path,
        reason,
    )


@contextmanager
def none_left_out() -> Iterator[None]:
    """Refuse bad images as a command does that has no option to leave them out.

    Raises
    ------
    InputError
        In place of a :class:`BadImageError`.
    """
    try:
        yield
    except BadImageError as error:
        raise InputError(
            f"{error.path}: cannot be decoded ({error.reason}); replace or remove it"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _silence_pillow() -> None:
    """Keep Pillow's warnings (odd EXIF, large images) from being printed, or raised.

    What matters is refused here. The filter stays: taking it back is not safe beside other threads.
    """
    first = warnings.filters[0] if warnings.filters else None
    if not (first and first[0] == "ignore" and getattr(first[3], "pattern", "") == _PILLOW):
        warnings.filterwarnings("ignore", module=_PILLOW)


_PILLOW = r"PIL(\.|$)"
logging.getLogger("PIL").addHandler(logging.NullHandler())  # nor its errors of TIFF


def _decoded(path: Path, target: str) -> Image.Image:
    """Decode a file, or raise whatever error with the reason for a message."""
    other = what_it_is(path)
    if other is not None:  # never opened: reading from a pipe would wait for ever
        raise ValueError(other)
    try:
        opened = Image.open(path, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(_kind_of_file(path)) from error
    with opened as image:
        width, height = image.size
        if not 0 < width * height <= LARGEST or max(image.size) > LONGEST:
            raise ValueError(
                f"{width} x {height} pixels; wanted 1 to {LARGEST:,} of them, no side longer than "
                f"{LONGEST:,}"
            )
        written = _as_written(image)
        image.load()
        if image.mode not in CONVERSIONS:
            raise ValueError(
                f"pixels of mode {image.mode}: {REFUSED.get(image.mode, 'unknown')}; "
                "save them with 8 bits per channel"
            )
        return CONVERSIONS[image.mode](image, target, written)


def _kind_of_file(path: Path) -> str:
    """Return what a file is that is none of :data:`FORMATS`, as far as its first bytes tell."""
    with path.open("rb") as file:
        content = file.read(256)
    if not content:
        return "the file is empty"
    wanted = f"none of {', '.join(FORMATS)}"
    for offset, magic, name in SIGNATURES:
        if content[offset:].startswith(magic):
            return f"{wanted}, but {name}"
    for name in FORMATS:
        if Image.OPEN[name][1] and Image.OPEN[name][1](content[:16]):  # type: ignore[misc]
            return f"a damaged {name}, or one of a kind that Pillow does not read"
    return wanted


def _as_written(image: Image.Image) -> str:
    """Return how pixels lie in the file, in Pillow's words ("RGB;16B"); of an image not loaded.

    Raises
    ------
    ValueError
        If Pillow would read a TIFF's samples as what they are not.
    """
    tile = image.tile[0] if getattr(image, "tile", None) else None  # type: ignore[attr-defined]
    arguments = tile[3] if tile else ""
    written = arguments if isinstance(arguments, str) else next(iter(arguments or ()), "")
    if image.format == "TIFF":
        _check_tiff(image)
    return str(written)


# Tags of TIFF, and values of them.
BITS_PER_SAMPLE = 258
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
PLANES, SEPARATE = 284, 2
SAMPLE_FORMAT, SIGNED = 339, 2


def _check_tiff(image: Image.Image) -> None:
    """Refuse what Pillow would take for samples of 8 bits, without sign, or with 0 as black."""
    tags: Mapping[int, Any] = image.tag_v2  # type: ignore[attr-defined]
    deep = max(tags.get(BITS_PER_SAMPLE, (1,))) > 8
    if image.mode == "L" and SIGNED in tags.get(SAMPLE_FORMAT, ()):
        raise ValueError("its samples are signed numbers; save them without a sign")
    if deep and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        raise ValueError("more than 8 bits per channel, and 0 is white; save it with 0 as black")
    if deep and tags.get(PLANES) == SEPARATE:
        raise ValueError("more than 8 bits per channel, channels apart; save them together")


# Takes an image, the mode wanted, and how the pixels lay in the file.
Conversion = Callable[[Image.Image, str, str], Image.Image]


def _as_pillow(image: Image.Image, target: str, written: str) -> Image.Image:
    """Convert 8 bits per channel; of 16, Pillow has kept the upper eight."""
    if re.search(r";16[LBN]", written):
        ranges = image.getextrema()
        every = ranges if isinstance(ranges[0], tuple) else (ranges,)
        bands = zip(image.getbands(), every, strict=True)
        peak = max(high for band, (_, high) in bands if band not in "AaX")
        if peak < FAINTEST_PEAK >> 8 and (peak or _lower_bytes(image, written)):
            raise ValueError(_too_faint(f"below {(int(peak) + 1) << 8}"))
    return image.convert(target)


def _lower_bytes(image: Image.Image, written: str) -> bool:
    """Return whether there is anything in the lower bytes of 16 bits whose upper ones are all 0.

    Pillow keeps only the byte that comes first in the order that it is told: it is told the other.
    """
    kind, _, order = written.partition(";16")
    native = "L" if sys.byteorder == "little" else "B"
    other = {"L": "B", "B": "L"}[native if order == "N" else order]
    # Gray and alpha are four bytes, as RGBA has them; the second is the lower one of gray.
    told = "RGBA" if kind == "LA" else f"{kind};16{other}"
    opened: Any = Image.open(image.filename, formats=FORMATS)  # type: ignore[attr-defined]
    with opened as again:
        again.tile = [
            (*tile[:3], told if isinstance(tile[3], str) else (told, *tile[3][1:]))
            for tile in again.tile
        ]
        again.load()
        extrema = zip(again.getbands(), again.getextrema(), strict=True)
        seen = "G" if kind == "LA" else "RGBCMYK"
        return any(high for band, (_, high) in extrema if band in seen)


def _by_way_of(mode: str) -> Conversion:
    return lambda image, target, written: image.convert(mode).convert(target)


def _sixteen_bits(image: Image.Image, target: str, written: str) -> Image.Image:
    """Keep the upper eight bits of 16, or of the 12 that a TIFF says it has."""
    levels = np.asarray(image)
    bits = 12 if written == "I;12" else 16
    peak = int(levels.max())
    if bits == 16 and 0 < peak < FAINTEST_PEAK:
        raise ValueError(_too_faint(f"at most {peak}"))
    upper = (levels >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(upper).convert(target)


def _too_faint(values: str) -> str:
    return (
        f"16 bits per channel, but its values are {values}: on 0..65535 that is all but black; "
        "scale them up to 65535, or save it with 8 bits per channel"
    )


CONVERSIONS: Mapping[str, Conversion] = MappingProxyType(
    {
        **dict.fromkeys(("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"), _as_pillow),
        **dict.fromkeys(("PA", "LAB", "HSV"), _by_way_of("RGB")),
        **{mode: _by_way_of(mode.upper()) for mode in ("La", "RGBa")},  # multiplied by alpha
        **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), _sixteen_bits),
    }
)
REFUSED = MappingProxyType(
    {
        "I": "integers of 32 bits or with a sign have no stated range",
        "F": "real numbers have no stated range",
    }
)
