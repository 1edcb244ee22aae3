# SPDX-License-Identifier: Apache-2.0
"""The choice of a backend for every product of a graph, and its reasons in words."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from simulator.errors import EnvironmentProblem
from simulator.gemm import BACKENDS, backend
from simulator.graph.graph import IntGraph
from simulator.graph.ops import MatrixProduct
from simulator.kernel_choice import is_one_pass
from simulator.numerics.jit import has_avx2, is_compiling, multiplies_bytes
from simulator.product_choice.classes import (
    ProductClass,
    class_of,
    operations_of_a_task,
    usual_classes,
)
from simulator.product_choice.kept import KeptRates, Rates, kept_rates
from simulator.product_choice.measuring import MARGIN, measure

AUTO = "auto"
TILES, TORCH, BLAS, NUMBA = "avx2", "torch", "blas", "numba"
# Of the time of all products of a graph: what torch has to save for being imported.
WORTH_AN_IMPORT = 0.1
SMALL = 1 << 21  # operations of a task below which a product is not measured: microseconds
NOTHING: Rates = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The backend of one product.

    Attributes
    ----------
    backend
        a name of :data:`simulator.gemm.BACKENDS`
    reason
        why, in words
    product_class
        none where the choice did not ask for it
    rates
        measured for the class, by backend; empty where nothing was
    operations
        multiplications and additions of a task
    """

    backend: str
    reason: str
    product_class: ProductClass | None = None
    rates: Rates = field(default_factory=lambda: NOTHING)
    operations: int = 0


def choose(
    graph: IntGraph,
    gemm: str = AUTO,
    *,
    portable: bool = False,
    without_torch: bool = False,
    kept: KeptRates | None = None,
) -> Mapping[str, Choice]:
    """Return the backend of every matrix product of a graph, by the op's name.

    Rates that are missing are measured, and kept for other processes. Torch is measured only where
    it is imported already, and imported only where kept rates say that it saves a tenth of the
    products' time.

    Parameters
    ----------
    gemm
        ``auto``, or the backend of all products
    portable
        whether ops run by their portable kernels
    without_torch
        whether ``auto`` leaves torch alone, fast or not
    kept
        rates; default those of this process

    Raises
    ------
    EnvironmentProblem
        If a named backend cannot be used here, or with ``auto`` none can.
    """
    products = [op for op in graph.ops if isinstance(op, MatrixProduct)]
    check_backend(gemm)
    if gemm != AUTO:
        forced = Choice(backend=gemm, reason=f"asked for: --gemm {gemm}")
        return MappingProxyType({op.name: forced for op in products})
    kept = kept or kept_rates()
    rest = _first_usable()
    found = {op.name: _without_measuring(op, graph, rest) for op in products}
    open_ones = [op for op in products if found[op.name] is None]
    work = [
        (
            class_of(op, graph, one_pass=not portable and is_one_pass(op, graph)),
            operations_of_a_task(op, graph),
        )
        for op in open_ones
    ]
    candidates = _candidates(kept, work, without_torch=without_torch)
    measured({which for which, _ in work}, candidates, kept)
    for op, (which, operations) in zip(open_ones, work, strict=True):
        found[op.name] = _usable_choice(which, kept.of(which), candidates, operations)
    return MappingProxyType({name: choice for name, choice in found.items() if choice})


def choices_of_usual_classes(kept: KeptRates | None = None) -> tuple[Choice, ...]:
    """Measure the usual classes, torch among the backends where it is installed; keep the rates."""
    kept = kept or kept_rates()
    candidates = _without_torch()
    if may_try_torch() and is_usable(TORCH):
        candidates.append(TORCH)
    classes = usual_classes() if is_compiling() else ()
    measured(classes, candidates, kept)
    return tuple(_usable_choice(which, kept.of(which), candidates, 0) for which in classes)


def check_backend(gemm: str) -> None:
    """Raise EnvironmentProblem where a named backend, or with ``auto`` every one, is of no use."""
    if gemm == AUTO:
        _first_usable()
    elif gemm not in BACKENDS:
        raise EnvironmentProblem(f"GEMM backend {gemm!r}: choose auto, {', '.join(BACKENDS)}")
    else:
        backend(gemm)


def backends_in_use(choices: Mapping[str, Choice]) -> tuple[str, ...]:
    """Return the backends of a graph's products, that of most operations first."""
    work: dict[str, int] = {}
    for choice in choices.values():
        work[choice.backend] = work.get(choice.backend, 0) + choice.operations
    return tuple(sorted(work, key=lambda name: -work[name]))


def measured(classes: Collection[ProductClass], candidates: Sequence[str], kept: KeptRates) -> None:
    """Measure the classes of which a candidate's rate is not known, and keep what was found.

    Parameters
    ----------
    candidates
        backends, the one to beat first; those that cannot be used here are left out
    """
    unknown = [which for which in sorted(classes) if not {*candidates} <= kept.of(which).keys()]
    usable = [name for name in candidates if is_usable(name)] if unknown else []
    # Beside each other, and all again: a rate of another hour may be of another clock.
    found = {
        which: measure(which, [backend(name) for name in usable])
        for which in unknown
        if not {*usable} <= kept.of(which).keys()
    }
    if found:
        kept.keep(found)


def _usable_choice(
    which: ProductClass, rates: Rates, candidates: Sequence[str], operations: int
) -> Choice:
    """Return the choice for a class among the candidates that can be used here.

    One is only asked to prove itself where it was chosen: kept rates are of one that could.
    """
    names = [*candidates]
    while True:
        choice = chosen(which, rates, names, operations)
        if choice.backend == names[0] or is_usable(choice.backend):
            return choice
        names.remove(choice.backend)


def chosen(
    which: ProductClass, rates: Rates, candidates: Sequence[str], operations: int = 0
) -> Choice:
    """Return the choice for a class by its rates; the first candidate is the one to beat."""
    first, *others = candidates
    known = {name: rates[name] for name in candidates if name in rates}
    best = first
    if first in known:
        whole = {name: known[name].gops for name in others if name in known}
        faster = {
            name: gops
            for name, gops in whole.items()
            if not known[name].at_most and gops > MARGIN * known[first].gops
        }
        best = max(faster, key=faster.__getitem__) if faster else first
    return Choice(
        backend=best,
        reason=_reason(best, first, known),
        product_class=which,
        rates=MappingProxyType(known),
        operations=operations,
    )


def _reason(best: str, first: str, known: Rates) -> str:
    """Say in words why a backend is taken."""
    if first not in known or len(known) < 2:
        return f"nothing else can be used here that is as fast as {best}"
    ours = known[first].gops
    if best != first:
        return f"{known[best].gops / ours:.2f} times as fast as {first}"
    others = [
        f"{'at least ' if rate.at_most else ''}{ours / rate.gops:.2f} times as fast as {name}"
        for name, rate in known.items()
        if name != first
    ]
    words = ", ".join(others)
    close = any(rate.gops > ours for rate in known.values())
    return f"{words}; another has to be {MARGIN} times as fast" if close else words


def _without_measuring(op: MatrixProduct, graph: IntGraph, first: str) -> Choice | None:
    """Return the choice where there is nothing to measure."""
    operations = operations_of_a_task(op, graph)
    if any(graph.tensors[name].type.dtype.itemsize > 1 for name in (op.a, op.b)):
        reason = "other backends multiply codes of more than 8 bits by a plain loop"
        return Choice(backend=first, reason=reason, operations=operations)
    if operations < SMALL:
        reason = "too small to measure: microseconds"
        return Choice(backend=first, reason=reason, operations=operations)
    if not is_compiling():
        reason = "nothing is compiled here: only libraries are quick"
        return Choice(backend=first, reason=reason, operations=operations)
    return None


def _first_usable() -> str:
    """Return the backend that is taken unless another is known to be faster."""
    for name in (TILES, BLAS, NUMBA):
        if name in BACKENDS and is_usable(name):
            return name
    raise EnvironmentProblem("no matrix product on this CPU is exact, not even Numba's")


def is_usable(name: str) -> bool:
    """Tell whether a backend can be imported and is exact on this CPU."""
    try:
        backend(name)
    except EnvironmentProblem:
        return False
    return True


def may_try_torch() -> bool:
    """Tell whether torch's int8 product may be fast on this CPU.

    On x86 without instructions for bytes it may be thirty times slower than float32.
    """
    return not has_avx2() or multiplies_bytes()


def _candidates(
    kept: KeptRates,
    products: Collection[tuple[ProductClass, int]],
    *,
    without_torch: bool,
) -> list[str]:
    """Return the backends to compare, the one to beat first."""
    names = _without_torch()
    if without_torch or not may_try_torch():
        return names
    wanted = "torch" in sys.modules or _is_worth_importing(kept, products, names)
    return [*names, TORCH] if wanted else names


def _without_torch() -> list[str]:
    return [TILES, BLAS] if has_avx2() and is_usable(TILES) else [BLAS, NUMBA]


def _is_worth_importing(
    kept: KeptRates, products: Collection[tuple[ProductClass, int]], others: Sequence[str]
) -> bool:
    """Tell whether kept rates say that torch saves enough of the time of all products.

    Of sums alone the rest of the op is not known: they do not count.
    """
    before = after = 0.0
    for which, operations in products:
        if which.kind.is_sums:
            continue
        rates = kept.of(which)
        plain = chosen(which, rates, others).backend
        quick = chosen(which, rates, [*others, TORCH]).backend
        if plain in rates and quick in rates:
            before += operations / rates[plain].gops
            after += operations / rates[quick].gops
    return before - after > WORTH_AN_IMPORT * before
