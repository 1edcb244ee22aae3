# SPDX-License-Identifier: Apache-2.0
"""Short waits for the interpreter's lock, and for other threads, without going to sleep.

A kernel lets go of the interpreter's lock and takes it again when it ends. Threads that run the
same ops side by side end their kernels at the same time, again and again, and need the interpreter
for some microseconds each. Who finds the lock taken sleeps, and waking a thread costs ten times as
much. So kernels look at a flag first, which a thread that comes out of a kernel holds until it
enters the next one, and wait for it for a moment.

The flag is a hint. Whoever does not get it within that moment takes it all the same, and asks for
the interpreter's lock as ever: threads that do not know the flag, that sleep with it or have ended
with it cost one such moment.

Compiled kernels call ``PyEval_SaveThread`` and ``PyEval_RestoreThread`` by name, and
:func:`spin_in_kernels` gives these names to two functions here, which call the interpreter's own.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

# Rounds of a wait for the flag: 100 to 300 microseconds with x86's pause, of 15 to 45 nanoseconds.
ROUNDS_WITH_PAUSE = 6_000
ROUNDS_WITHOUT = 150_000
LONGER = 4  # a wait for another thread's work: so many times as long

# Pointers are typed, as older versions want them; newer ones read them as well.
_LLVM = """
@held = internal global i32 0
{declarations}

define i8* @let_go() {{
  %interpreter = inttoptr i64 {save} to i8* ()*
  %state = call i8* %interpreter()
  store atomic i32 0, i32* @held release, align 4
  ret i8* %state
}}

define void @take_again(i8* %state) {{
entry:
  br label %look
look:
  %round = phi i32 [0, %entry], [%next, %wait]
  %before = load atomic i32, i32* @held monotonic, align 4
  %free = icmp eq i32 %before, 0
  br i1 %free, label %try, label %wait
try:
  %pair = cmpxchg i32* @held, i32 0, i32 1 acquire monotonic
  %mine = extractvalue {{i32, i1}} %pair, 1
  br i1 %mine, label %take, label %wait
wait:
  {pause}
  %next = add i32 %round, 1
  %long = icmp ugt i32 %next, {rounds}
  br i1 %long, label %too_long, label %look
too_long:
  store atomic i32 1, i32* @held release, align 4
  br label %take
take:
  %interpreter = inttoptr i64 {restore} to void (i8*)*
  call void %interpreter(i8* %state)
  ret void
}}

define void @wait_for(i64* %counter, i64 %wanted) {{
entry:
  %state = call i8* @let_go()
  br label %look
look:
  %round = phi i32 [0, %entry], [%next, %wait]
  %now = load atomic i64, i64* %counter acquire, align 8
  %there = icmp sge i64 %now, %wanted
  br i1 %there, label %done, label %wait
wait:
  {pause}
  %next = add i32 %round, 1
  %long = icmp ugt i32 %next, {more_rounds}
  br i1 %long, label %done, label %look
done:
  call void @take_again(i8* %state)
  ret void
}}
"""


_LOCK = threading.Lock()


def _address(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


@dataclass(frozen=True, slots=True)
class _Addresses:
    let_go: int
    take_again: int
    wait_for: int


@cache
def _compiled() -> _Addresses:
    """Compile the functions above, into memory that is never given back: kernels may return late.

    Under the lock: a second result would be thrown away.
    """
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    triple = binding.get_default_triple()
    with_pause = triple.startswith("x86_64")
    rounds = ROUNDS_WITH_PAUSE if with_pause else ROUNDS_WITHOUT
    text = _LLVM.format(
        save=_address(ctypes.pythonapi.PyEval_SaveThread),
        restore=_address(ctypes.pythonapi.PyEval_RestoreThread),
        declarations="declare void @llvm.x86.sse2.pause()" if with_pause else "",
        pause="call void @llvm.x86.sse2.pause()" if with_pause else "",
        rounds=rounds,
        more_rounds=LONGER * rounds,
    )
    module = binding.parse_assembly(text)
    module.verify()
    machine = binding.Target.from_triple(triple).create_target_machine(opt=2)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    found = _Addresses(*map(engine.get_function_address, ("let_go", "take_again", "wait_for")))
    engine.detach()
    return found


def _functions() -> _Addresses:
    with _LOCK:
        return _compiled()


@cache
def spin_in_kernels() -> None:
    """Let kernels that are compiled or loaded from now on wait for a moment before they sleep."""
    from llvmlite import binding

    functions = _functions()
    binding.add_symbol("PyEval_SaveThread", functions.let_go)
    binding.add_symbol("PyEval_RestoreThread", functions.take_again)


@cache
def waiter() -> Callable[[int, int], None]:
    """Return ``wait_for(address, wanted)``: wait until the int64 there is ``wanted`` or more.

    For a moment only, without the interpreter's lock: then it returns, whatever the number.
    """
    kind = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
    return kind(_functions().wait_for)
