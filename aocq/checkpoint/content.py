# SPDX-License-Identifier: Apache-2.0
"""Kinds of checkpoint files by their content: tensors to be read, or something else, by its name.

Suffixes are not asked: files are renamed, and downloads of pages and pointers have the right ones.
"""

from __future__ import annotations

import json
import re
import stat
import zipfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from simulator.errors import InputError

HEAD = 4096
# A checkpoint's numbers do not compress: what unpacks to more was made to fill the memory.
UNPACKED = 4
SLACK = 1 << 20
UNPACK = "unpack it and pass the checkpoint inside"
STATE = "save the model's state_dict() as .safetensors"


class Form(Enum):
    """How a file holds tensors."""

    SAFETENSORS = "safetensors"
    PICKLED = "pickled"
    ARRAYS = "arrays"  # NumPy's, under names that JAX's networks have


# (pattern of a file's first bytes, what it is, the way out)
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file as Keras writes it", f"load it there and {STATE}"),
    (rb"\x1f\x8b", "a gzip archive", UNPACK),
    (rb"BZh", "a bzip2 archive", UNPACK),
    (rb"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (rb"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (rb"Rar!", "a rar archive", UNPACK),
    (rb".{257}ustar", "a tar archive", UNPACK),
    (rb"GGUF", "a GGUF file of quantized weights", "use the float network's checkpoint"),
    (rb".{4}TFL3", "a LiteRT (TFLite) model", "use the float network's checkpoint"),
    (rb"\x93NUMPY", "one NumPy array (.npy), not tensors by name", STATE),
    (
        # The version of its format, then who made it (text), the graph, or its operators.
        rb"\x08[\x01-\x20](\x12.[\x20-\x7e]|\x3a|\x42)",
        "an ONNX model, a graph with weights",
        f"where it comes from, {STATE}",
    ),
    (rb"%PDF", "a PDF document", "fetch the checkpoint itself"),
    (rb"\x89PNG|\xff\xd8\xff", "an image", "pass images with --data"),
)
# (a pattern of names in a zip archive, what the archive is, the way out)
_ARCHIVES: tuple[tuple[str, str, str], ...] = (
    (
        r"(^|/)constants\.pkl$|(^|/)code/",
        "a TorchScript archive, a program with weights",
        "save the state_dict() of torch.jit.load(…) as .safetensors",
    ),
    (
        r"serialized_exported_program|(^|/)archive_format$|(^|/)archive_version$",
        "a program that torch.export saved",
        "save the state_dict() of torch.export.load(…) as .safetensors",
    ),
    (r"\.weights\.h5$", "a Keras archive", f"load it there and {STATE}"),
    (r"", "a zip archive", UNPACK),
)
_TEXTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        r"version https://git-lfs\.": (
            "a git-LFS pointer, not the weights it stands for",
            "fetch them with `git lfs pull`",
        ),
        r"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b": (
            "a web page (HTML), not weights",
            "fetch the file itself; its page has a link for that",
        ),
        r"\s*<": ("an XML text, often a server's refusal", "fetch the checkpoint again"),
    }
)


def shown(text: object, limit: int = 120) -> str:
    """Return a text out of a file as a terminal may show it: one line, nothing that controls it."""
    line = " ".join(str(text).split())
    line = line if line.isprintable() else ascii(line)[1:-1]
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def form(path: Path) -> Form:
    """Return how a file holds tensors.

    Raises
    ------
    InputError
        If it is no file, cannot be read, or is something else, which the message names.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                head = file.read(HEAD)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # or a NUL in its name
        raise InputError(
            f"{path}: no such file; --weights wants a .safetensors or .pth file"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check its name and rights"
        ) from error
    if not stat.S_ISREG(mode):
        folder = stat.S_ISDIR(mode)
        raise InputError(
            f"{path}: no such file, but {'a folder' if folder else 'a pipe or device'}; --weights "
            "wants the .safetensors or .pth file itself"
        )
    if not head:
        raise InputError(f"{path}: is empty; fetch it again")
    # The length of a safetensors header, in 64 bits, then the header, which is JSON.
    if head[4:9] == b"\0\0\0\0{":
        return Form.SAFETENSORS
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if head.startswith(b"\x80"):
        return Form.PICKLED
    what, way_out = _told(path, head)
    raise InputError(f"{path}: is {what}; {way_out}")


def _archive(path: Path) -> Form:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise InputError(
            f"{path}: damaged or not a checkpoint ({shown(error)}); fetch it again"
        ) from error
    names = [entry.filename for entry in entries]
    # A TorchScript archive has a data.pkl too.
    program = any(re.search(_ARCHIVES[0][0], name) for name in names)
    pickled = not program and any(re.search(r"(^|/)data\.pkl$", name) for name in names)
    if pickled or (names and all(name.endswith(".npy") for name in names)):
        unpacked, size = sum(entry.file_size for entry in entries), path.stat().st_size
        if unpacked > UNPACKED * size + SLACK:
            raise InputError(
                f"{path}: unpacks to {unpacked:,} bytes from {size:,}, as no weights do; {STATE}"
            )
        return Form.PICKLED if pickled else Form.ARRAYS
    _, what, way_out = next(
        row for row in _ARCHIVES if any(re.search(row[0], name) for name in (*names, ""))
    )
    raise InputError(f"{path}: is {what}; {way_out}")


def _told(path: Path, head: bytes) -> tuple[str, str]:
    """Return what a file is that holds no tensors to be read, and the way out."""
    for signature, what, way_out in _SIGNATURES:
        if re.match(signature, head, re.DOTALL):
            return what, way_out
    text = head.decode("utf-8", "replace")
    for pattern, told in _TEXTS.items():
        if re.match(pattern, text, re.IGNORECASE | re.DOTALL):
            return told
    if text.lstrip().startswith("{"):
        return _json(path)
    if re.fullmatch(r"[\s\x20-\x7e]+", text):
        return f"damaged or not a checkpoint but a text ({shown(text, 40)!r})", "fetch it again"
    return (
        f"damaged or not a checkpoint (it begins with {head[:8].hex(' ')})",
        "--weights wants a .safetensors or .pth file",
    )


def _json(path: Path) -> tuple[str, str]:
    try:
        document: Any = json.loads(path.read_text("utf-8")) if path.stat().st_size < SLACK else {}
    except (ValueError, OSError, RecursionError):
        document = {}
    parts = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(parts, dict):
        return "a JSON text, not weights", "pass the .safetensors or .pth file"
    names = sorted({str(name) for name in parts.values()})
    return (
        f"the index of weights that lie in {len(names)} other files ({shown(', '.join(names))})",
        "join their tensors in one .safetensors and pass that",
    )
