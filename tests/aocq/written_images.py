# SPDX-License-Identifier: Apache-2.0
"""Image files of kinds that Pillow reads and does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def deep_png(samples: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits per channel: gray and alpha, RGB or RGBA, [height, width, 2 to 4]."""
    height, width, channels = samples.shape
    color_type = {2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


# Tags of TIFF.
BITS, PHOTOMETRIC, OFFSETS, SAMPLES, ROWS, COUNTS, PLANES, SAMPLE_FORMAT = (
    *(258, 262, 273, 277, 278),
    *(279, 284, 339),
)


def tiff(width: int, height: int, planes: list[bytes], **tags: int) -> bytes:
    """An uncompressed TIFF: one strip per plane, tags of one value for every sample or of one."""
    samples = tags.pop("samples", 1)
    bits, kind = tags.pop("bits", 8), tags.pop("sample_format", 1)
    entries: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        BITS: (bits,) * samples,
        259: (1,),
        PHOTOMETRIC: (tags.pop("photometric", 1),),
        SAMPLES: (samples,),
        ROWS: (height,),
        PLANES: (2 if len(planes) > 1 else 1,),
        SAMPLE_FORMAT: (kind,) * samples,
        COUNTS: tuple(map(len, planes)),
    }
    assert not tags
    start = 8 + 12 * (len(entries) + 1) + 6 + 8 * sum(len(value) > 1 for value in entries.values())
    start += 8 * 8
    entries[OFFSETS] = tuple(start + sum(map(len, planes[:i])) for i in range(len(planes)))
    return _directory(entries, start) + b"".join(planes)


def _directory(entries: Mapping[int, tuple[int, ...]], end: int) -> bytes:
    """Header, directory and the values that do not fit into it, filled up to ``end`` bytes."""
    directory, beyond = struct.pack("<H", len(entries)), b""
    outside = 8 + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        content = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            place = struct.pack("<I", outside + len(beyond))
            beyond += content
        else:
            place = content
        directory += struct.pack("<HHI", tag, 4, len(values)) + place
    written = b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + beyond
    assert len(written) <= end
    return written.ljust(end, b"\0")
