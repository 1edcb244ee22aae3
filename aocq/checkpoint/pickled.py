# SPDX-License-Identifier: Apache-2.0
"""Pickled checkpoints, read by torch's restricted unpickler: no code in them is ever run.

Training scripts keep more than tensors beside the weights: their options, measurements, paths. What
is known to be such data is read as an empty stand-in, without importing what it names.
"""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections import OrderedDict
from mmap import ACCESS_READ, mmap
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from aocq.checkpoint.content import shown
from simulator.errors import InputError


class StandIn:
    """What a checkpoint holds beside its weights; takes whatever it is made of and keeps none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Forget the arguments."""

    def __setstate__(self, state: Any) -> None:
        """Forget the state."""


class _Dictionary:
    """A dictionary of a kind of its own; the unpickler fills no others than Python's."""

    def __new__(cls, *_: Any) -> Any:
        return OrderedDict()


_VALUES = (
    "argparse.Namespace",  # timm's own training checkpoints, DeiT's, Swin's
    "types.SimpleNamespace",
    *("numpy.dtype", "numpy.ndarray"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar",)),
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    *(f"pathlib.{pure}{kind}Path" for pure in ("", "Pure") for kind in ("Posix", "Windows")),
    *(f"pathlib._local.{kind}Path" for kind in ("Posix", "Windows")),
    *(f"builtins.{kind}" for kind in ("list", "dict", "int", "float", "str")),
    "omegaconf.base.ContainerMetadata",
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"),
)
_DICTIONARIES = (
    "collections.defaultdict",
    "yacs.config.CfgNode",
    "easydict.EasyDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
)
_SAFE: list[Any] = [
    *((type(name.rpartition(".")[2], (StandIn,), {}), name) for name in _VALUES),
    *((type(name.rpartition(".")[2], (_Dictionary,), {}), name) for name in _DICTIONARIES),
]
# What the unpickler says where a file is sound and wants more than it allows.
_FORBIDDEN = re.compile(
    r"GLOBAL (\S+)|unrecognized function (.+)|Can only (?:create new object|build)|must be imported"
)


# Python's own, which the unpickler allows: of a number, it is as many bytes.
_BYTEARRAY = re.compile(rb"c(?:__builtin__|builtins)\nbytearray\n")


def _makes_bytes(path: Path) -> bool:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            return any(_BYTEARRAY.search(archive.read(name)) for name in pickles)
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return _BYTEARRAY.search(content) is not None


def _refuse_damaged(path: Path) -> None:
    """Hold an archive's parts against their checksums, which torch does not look at."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return
    with zipfile.ZipFile(path) as archive:
        if not any(entry.CRC for entry in archive.infolist()):
            raise InputError(
                f"{path}: was written without checksums, so that damage could not be told; "
                "save it without torch.serialization.set_crc32_options(False)"
            )
        try:
            damaged = archive.testzip()
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise InputError(f"{path}: damaged ({shown(error)}); fetch it again") from error
    if damaged is not None:
        raise InputError(f"{path}: damaged (checksum of {shown(damaged)}); fetch it again")


def load(path: Path) -> Any:
    """Return what a pickled file holds.

    Raises
    ------
    InputError
        If it is damaged, as its checksums tell too, or holds anything that code would have to be
        run for.
    """
    try:
        _refuse_damaged(path)
        with (
            torch.serialization.safe_globals(_SAFE),
            warnings.catch_warnings(),
            path.open("rb") as file,  # of a path, torch would ask the suffix
        ):
            warnings.simplefilter("ignore")  # of torch, about how it stored tensors once
            if _makes_bytes(path):
                raise UnpicklingError("GLOBAL builtins.bytearray")
            return torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # of a damaged file, the unpickler raises whatever comes
        forbidden = _FORBIDDEN.search(str(error))
        if forbidden:
            what = next((part for part in forbidden.groups() if part), "")
            raise InputError(
                f"{path}: holds more than tensors{f' ({shown(what, 80)})' if what else ''}, and "
                "code in checkpoints is never run; save its state_dict() as .safetensors"
            ) from error
        raise InputError(
            f"{path}: damaged or not a checkpoint ({type(error).__name__}: "
            f"{shown(error)}); fetch it again"
        ) from error
