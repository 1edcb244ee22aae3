# SPDX-License-Identifier: Apache-2.0
"""Cache of compiled kernels on disk, one file each, for any number of processes.

Numba's own cache keeps an index beside the compiled code and writes one after the other: two
processes that save at the same time can leave an index that leads to another signature's code,
which then computes wrong integers. Here a file's name is a hash of all that its code depends on
(:func:`overload_key`); the file repeats the key, and a sha256 over key and code. It is put into
place by a rename, and read back only if it is private, holds the key asked for and is whole.
Anything else is compiled again and replaced.

The cache is a convenience: whatever goes wrong with it costs the time to compile, not the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import secrets
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config as numba_config
from numba.core import serialize, sigutils
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock

from simulator.compilation import turn
from simulator.control_characters import escaped
from simulator.kernel_sources import edited_since_import, sources_digest
from simulator.ownership import check_private_folder, foreign

# Of Numba's insides, untyped: what its own cache calls, and no more.
_compile_result: Any = CompileResult
_dumps: Any = serialize.dumps
_arguments: Any = sigutils.normalize_signature
_one_thread: Any = global_compiler_lock

MAGIC = b"aocq kernel 1\n"  # another number when the form of files changes
# What makes Numba compile the same kernel to other code.
_SETTINGS = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "BOUNDSCHECK"),
    *("DEBUGINFO_DEFAULT", "DISABLE_INTEL_SVML"),
)


def keep_compiled(kernel: Any, folder: Path | None) -> None:
    """Let a kernel, Numba's dispatcher, load its compiled signatures from a folder and save them.

    Of several processes that want the same signature at once, one compiles it
    (:func:`simulator.compilation.turn`).
    """
    cache = kernel._cache = KernelCache(kernel.py_func, folder)
    compile_now = kernel.compile

    def compile_in_turn(sig: Any) -> Any:
        # Numba's own lock comes first: a thread that held it would wait for one that has the turn.
        with _one_thread:
            if _arguments(sig)[0] in kernel.overloads:
                return compile_now(sig)
            name = cache.missing(sig, kernel.targetctx)
            if name is None:
                return compile_now(sig)
            with turn(cache.folder if name else None, name):
                return compile_now(sig)

    kernel.compile = compile_in_turn


class KernelCache(_Cache):
    """The compiled signatures of one kernel, as Numba's dispatcher asks for them."""

    def __init__(self, function: Callable[..., Any], folder: Path | None) -> None:
        self.function, self.folder = function, folder
        self.enabled = True

    @property
    def cache_path(self) -> str | None:
        """The folder, for Numba's statistics."""
        return None if self.folder is None else str(self.folder)

    def enable(self) -> None:
        """Load and save from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Neither load nor save from now on."""
        self.enabled = False

    def flush(self) -> None:
        """Forget what was compiled of this kernel."""
        if self.folder is not None:
            for path in self.folder.glob(f"{_stem(self.function)}-*"):
                path.unlink(missing_ok=True)

    def _is_stale(self) -> bool:
        return edited_since_import(self.function.__code__.co_filename)

    def missing(self, sig: Any, target_context: Any) -> str | None:
        """Return the name that a signature's file would have; None if it is there.

        Empty: none can be had or kept.
        """
        if not self.enabled or self.folder is None or self._is_stale():
            return ""
        try:
            key = overload_key(self.function, sig, target_context.codegen())
            name = _file_name(self.function, key)
            return None if (self.folder / name).exists() else name
        except Exception:
            return ""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled signature, or None if it has to be compiled."""
        if not self.enabled or self.folder is None or self._is_stale():
            return None
        target_context.refresh()  # as Numba's cache does: it fills the context's tables
        try:
            key = overload_key(self.function, sig, target_context.codegen())
            code = _read(self.folder, _file_name(self.function, key), key)
            if code is None:
                return None
            found = _compile_result._rebuild(target_context, *pickle.loads(code))
            return found if found.signature.args == _arguments(sig)[0] else None
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled signature."""
        if not self.enabled or self.folder is None or self._is_stale():
            return
        if data.lifted or data.library.has_dynamic_globals:  # addresses of this process
            return
        try:
            key = overload_key(self.function, sig, data.codegen)
            code = _dumps(data._reduce())
            _write(self.folder, _file_name(self.function, key), key, code)
        except Exception as error:
            _note_once(self.folder, error)


def overload_key(function: Callable[..., Any], sig: Any, codegen: Any) -> bytes:
    """Return the cache key of a signature: all that its compiled code depends on, on one line."""
    settings = {name: repr(getattr(numba_config, name, None)) for name in _SETTINGS}
    versions = (sys.implementation.cache_tag, numba.__version__, llvmlite.__version__)
    parts = {
        "function": _identity(function),
        "signature": [f"{type(part).__name__} {part!r}" for part in _parts(sig)],
        "machine": [str(part) for part in codegen.magic_tuple()],
        "versions": [*versions, np.__version__],
        "settings": settings,
    }
    return json.dumps(parts).encode()


def _parts(sig: Any) -> tuple[Any, ...]:
    return sig if isinstance(sig, tuple) else (sig,)


def _identity(function: Callable[..., Any]) -> list[str]:
    """Return the identity of a function: file, code, and values of enclosed variables.

    What they call is in it by :func:`simulator.kernel_sources.sources_digest`.
    """
    code = function.__code__
    return [
        *(function.__module__, function.__qualname__, str(code.co_firstlineno)),
        sources_digest(code.co_filename),
        hashlib.sha256(code.co_code + repr(code.co_names).encode()).hexdigest(),
        *(_of_cell(cell.cell_contents) for cell in function.__closure__ or ()),
    ]


def _of_cell(value: Any) -> str:
    """Return what a factory's variable holds; a kernel's own pickle differs in every process."""
    function = getattr(value, "py_func", None)
    if function is not None:
        return json.dumps(_identity(function))
    return hashlib.sha256(_dumps(value)).hexdigest()


def _stem(function: Callable[..., Any]) -> str:
    identity = hashlib.sha256(json.dumps(_identity(function)).encode()).hexdigest()
    name = function.__name__[:40] if function.__name__.isascii() else "kernel"
    return f"{name.strip('<>')}-{identity[:16]}"


def _file_name(function: Callable[..., Any], key: bytes) -> str:
    return f"{_stem(function)}-{hashlib.sha256(key).hexdigest()[:32]}"


def _read(folder: Path, name: str, key: bytes) -> bytes | None:
    """Return the code in a file, or None unless it is private, of this key and whole."""
    try:
        check_private_folder(folder)
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or foreign(status):
            return None
        content = file.read()
    head = MAGIC + key + b"\n"
    digest, code = content[len(head) : len(head) + 32], content[len(head) + 32 :]
    if not content.startswith(head) or digest != _digest(key, code):
        return None
    return code


def _write(folder: Path, name: str, key: bytes, code: bytes) -> None:
    """Put a whole file into place, readable and writable by this user alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private_folder(folder)
    temporary = folder / f".{os.getpid()}-{secrets.token_hex(8)}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123
            file.write(MAGIC + key + b"\n" + _digest(key, code) + code)
        temporary.replace(folder / name)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(key: bytes, code: bytes) -> bytes:
    return hashlib.sha256(key + b"\n" + code).digest()


_noted: set[Path] = set()


def _note_once(folder: Path, error: Exception) -> None:
    if not _noted:
        _noted.add(folder)
        text = (
            f"note: compiled kernels cannot be kept in {folder} ({error}): "
            "they are compiled again in every run (AOCQ_CACHE_DIR names another folder)"
        )
        print(escaped(text), file=sys.stderr)
