# SPDX-License-Identifier: Apache-2.0
"""Measured rates on disk: one small file per CPU and version of what was measured.

The file is written whole or not at all; one that is damaged or of another key is measured again.
Two processes that measure at once keep what both found, or what the last one did: either is true.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from simulator import strict_json
from simulator.config import cache_folder
from simulator.errors import AocqError
from simulator.files import write_text
from simulator.kernel_sources import PACKAGE, sources_digest
from simulator.numerics.jit import cpu_features
from simulator.ownership import check_private_folder
from simulator.processor import processor_model
from simulator.product_choice.classes import Kind, ProductClass
from simulator.product_choice.measuring import Rate
from simulator.reading import read_text

FORMAT = 1
LARGEST = 1 << 20  # bytes
SOURCES = ("simd/ops/matmul.py", "ops/matmul.py", "product_choice/measuring.py")
PACKAGES = ("torch", "numpy", "numba", "llvmlite")
Rates = Mapping[str, Rate]


def machine_key() -> Mapping[str, Any]:
    """Return all that rates depend on: the CPU, the sources of kernels, versions of libraries."""
    digests = [sources_digest(str(PACKAGE / name)) for name in SOURCES]
    return {
        "cpu": processor_model(),
        "features": sorted(name for name, there in cpu_features().items() if there),
        "kernels": hashlib.sha256("".join(digests).encode()).hexdigest(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@dataclass(slots=True, kw_only=True)
class KeptRates:
    """Rates by class and backend, in memory and, where there is a folder, in a file.

    Attributes
    ----------
    path
        the file; none where nothing can be kept
    """

    path: Path | None
    key: Mapping[str, Any]
    rates: dict[ProductClass, dict[str, Rate]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def opened(cls, folder: Path | None, key: Mapping[str, Any]) -> KeptRates:
        """Return what a folder keeps under a key; nothing where it is missing or damaged."""
        path = None
        if folder is not None:
            name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
            path = folder / f"{name[:32]}.json"
        kept = cls(path=path, key=key)
        kept.rates = kept._read()
        return kept

    def of(self, which: ProductClass) -> Rates:
        """Return what is known of a class, by backend."""
        return self.rates.get(which, {})

    def keep(self, found: Mapping[ProductClass, Rates]) -> None:
        """Add rates, here and in the file; one that cannot be written is left alone."""
        with self.lock:
            if self.path is not None:
                for which, rates in self._read().items():  # what others found meanwhile
                    self.rates[which] = {**rates, **self.rates.get(which, {})}
            for which, new in found.items():
                self.rates[which] = {**self.rates.get(which, {}), **new}
            self._write()

    def _write(self) -> None:
        if self.path is None:
            return
        plain = [
            {
                "kind": str(which.kind),
                "weight_bits": which.weight_bits,
                "size": [which.rows, which.terms, which.columns],
                "rates": {
                    name: {"gops": rate.gops, "at_most": rate.at_most}
                    for name, rate in rates.items()
                },
            }
            for which, rates in sorted(self.rates.items())
        ]
        text = strict_json.dumps({"format": FORMAT, "key": self.key, "classes": plain}, indent=1)
        with suppress(AocqError, OSError):
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            check_private_folder(self.path.parent)
            write_text(self.path, text + "\n")

    def _read(self) -> dict[ProductClass, dict[str, Rate]]:
        if self.path is None:
            return {}
        try:
            plain = strict_json.loads(read_text(self.path, LARGEST))
            if plain["format"] != FORMAT or plain["key"] != self.key:
                return {}
            return dict(_class_and_rates(entry) for entry in plain["classes"])
        except (AocqError, OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def _class_and_rates(entry: Mapping[str, Any]) -> tuple[ProductClass, dict[str, Rate]]:
    sizes = [*entry["size"], entry["weight_bits"]]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError("a size is no whole number")
    rows, terms, columns, bits = sizes
    which = ProductClass(
        kind=Kind(entry["kind"]), weight_bits=bits, rows=rows, terms=terms, columns=columns
    )
    return which, {name: _rate(plain) for name, plain in entry["rates"].items()}


def _rate(plain: Mapping[str, Any]) -> Rate:
    gops, alone = plain["gops"], plain["at_most"]
    if type(alone) is not bool or isinstance(gops, bool) or not isinstance(gops, int | float):
        raise ValueError("a rate is no number")
    if not 0 < gops < math.inf:
        raise ValueError("a rate is not positive")
    return Rate(gops=float(gops), at_most=alone)


@cache
def kept_rates() -> KeptRates:
    """Return this process's rates, read from the cache folder once."""
    try:
        folder = cache_folder()
    except AocqError:
        folder = None
    return KeptRates.opened(None if folder is None else folder / "products", machine_key())
