# SPDX-License-Identifier: Apache-2.0
"""The one place that calls Numba.

Compiled kernels are cached on disk by :mod:`simulator.kernel_cache`, under a hash of the sources
that a kernel depends on: Numba's own cache looks only at the file of a kernel and does not see
edits in the functions it calls (numba issue 9483), it fails where the package's folder cannot be
written (issue 4908), and processes that fill it at once can mix up signatures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, cached_property, update_wrapper
from pathlib import Path
from types import MappingProxyType
from typing import Any

import simulator.kernel_sources  # noqa: F401  (notes the time before kernels are imported)
from simulator.config import cache_folder

# Instruction sets that multiply bytes and add to 32 bits, by LLVM's names.
FAST_BYTES = ("avxvnni", "avx512vnni", "amx-int8")


def kernel_cache_folder() -> Path | None:
    """Return the folder of compiled kernels, None where nothing can be kept."""
    folder = cache_folder()
    return None if folder is None else folder / "kernels"


class Kernel:
    """A function that is compiled at its first call; until then Numba is not even imported.

    That takes a fifth of a second, and commands that run no kernel import modules which have some.
    To Numba, and to whoever asks for anything but the function, it is Numba's dispatcher.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.py_func = function
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """Run the compiled function."""
        return self.dispatcher(*arguments)

    def __getattr__(self, name: str) -> Any:
        if name in {"dispatcher", "py_func"}:  # of one that is being copied, and has nothing yet
            raise AttributeError(name)
        return getattr(self.dispatcher, name)

    @cached_property
    def dispatcher(self) -> Any:
        """Numba's dispatcher; the function itself where kernels are not compiled."""
        import numba

        compiled: Any = numba.njit(
            cache=False, nogil=True, fastmath=False, error_model="python", boundscheck=False
        )(self.py_func)
        if is_compiling():
            from simulator.kernel_cache import keep_compiled
            from simulator.numerics.interpreter_lock import spin_in_kernels

            spin_in_kernels()
            keep_compiled(compiled, kernel_cache_folder())
        return compiled


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` at its first call: no GIL, no relaxed arithmetic.

    Kernels take arrays and integers, widen to int64 explicitly (Numba's int64 wraps silently, so
    :mod:`simulator.graph.ranges` proves that nothing passes 63 bits) and write into arrays that
    the caller allocated.
    """
    return Kernel(function)


def has_avx2() -> bool:
    """Tell whether kernels are compiled for an x86 CPU with AVX2."""
    return is_compiling() and bool(cpu_features().get("avx2"))


def has_vnni() -> bool:
    """Tell whether kernels are compiled for an x86 CPU that adds four products of bytes at once."""
    features = cpu_features()
    in_avx512 = features.get("avx512vnni") and features.get("avx512vl")
    return has_avx2() and bool(features.get("avxvnni") or in_avx512)


def multiplies_bytes() -> bool:
    """Tell whether the CPU has instructions that add products of bytes to 32 bits, of any kind."""
    return any(cpu_features().get(name) for name in FAST_BYTES)


@cache
def cpu_features() -> Mapping[str, bool]:
    """Return which instruction sets kernels are compiled for, by LLVM's names.

    Those of this CPU, unless Numba is told of others: by ``NUMBA_CPU_FEATURES`` such as
    ``+avx2,-avx512f``, of which all that are not named are missing, or ``NUMBA_ENABLE_AVX=0``.
    """
    from llvmlite import binding
    from numba.core import config as numba_config

    config: Any = numba_config  # its attributes are set at run time
    if config.CPU_FEATURES is not None:
        named = config.CPU_FEATURES.split(",")
        return MappingProxyType({name[1:]: name[0] == "+" for name in named if name})
    found = binding.get_host_cpu_features()
    kept = {
        name: has and (config.ENABLE_AVX or not name.startswith("avx"))
        for name, has in found.items()
    }
    return MappingProxyType(kept)


def is_compiling() -> bool:
    """Tell whether kernels are compiled; without (NUMBA_DISABLE_JIT) they run as plain Python."""
    from numba.core import config as numba_config

    config: Any = numba_config  # its attributes are set at run time
    return not config.DISABLE_JIT
