# SPDX-License-Identifier: Apache-2.0
"""Coverage of timm's vision transformers: captured, lowered, bit-exact, or the missing operator.

Networks have random weights and see random images: accuracy is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aocq.capture import FloatGraph, UnsupportedOperatorError, capture, run
from aocq.jobs.calibration import calibrated
from aocq.lowering import LoweringError, check_recipe, lower
from aocq.recipes.limits import limits_of
from aocq.recipes.recipe import Recipe
from aocq.zoo.architectures import ARCHITECTURES, Architecture
from aocq.zoo.models import LoadedModel, random_model
from simulator.boundary import quantize
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.profile import NpuProfile

import timm  # isort: skip  (after aocq.zoo.models, which declares what its import may lack)
from timm.models import list_modules  # isort: skip

# Of the largest logit: more than float32 loses on its way through a network, less than any
# operator that is missing or misread.
FLOAT_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageResult:
    """The coverage of one network.

    Attributes
    ----------
    parameters
        how many it has; None where it cannot be built
    nodes
        of its FloatGraph; None where it is not captured
    ops, float_ops
        of its IntGraph, and how many of them are no integer arithmetic; None without one
    compared
        integers that were equal between two kernels and two batch sizes; None where some were not
    missing
        what it stopped at, empty where it came through
    """

    architecture: Architecture
    model: str
    parameters: int | None = None
    input_size: tuple[int, int, int] | None = None
    nodes: int | None = None
    ops: int | None = None
    float_ops: int | None = None
    compared: int | None = None
    missing: str = ""


def matching(pattern: str, advance: Callable[[int], None]) -> dict[str, Architecture]:
    """Return, by model, the smallest network of each kind whose name matches a shell pattern.

    Where none of :data:`ARCHITECTURES` has such a name, a kind is a module of ``timm.models``. What
    timm has for its own tests (``test_vit``) is left out. ``advance`` is called with 1 after each
    of :data:`ARCHITECTURES`.
    """
    others = (Architecture(name=name, module=name) for name in list_modules())
    return _smallest(ARCHITECTURES, pattern, advance) or _smallest(
        others, pattern, lambda steps: None
    )


def _smallest(
    architectures: Iterable[Architecture], pattern: str, advance: Callable[[int], None]
) -> dict[str, Architecture]:
    found = {}
    for architecture in architectures:
        names = [
            name
            for name in timm.list_models(module=architecture.module)
            if fnmatch(name, pattern)
            and fnmatch(name, architecture.pattern)
            and not name.startswith("test_")
        ]
        if names:
            found[min(names, key=_parameters)] = architecture
        advance(1)
    return found


@cache
def _parameters(name: str) -> float:
    """Return how many parameters a model has; infinitely many where it cannot be built."""
    try:
        with torch.device("meta"):  # shapes without values
            network: nn.Module = timm.create_model(name, pretrained=False)
    except Exception:  # whatever a constructor raises that computes with values
        return float("inf")
    return float(sum(parameter.numel() for parameter in network.parameters()))


def coverage_of(
    name: str, architecture: Architecture, profile: NpuProfile, weight_bits: int
) -> CoverageResult:
    """Return how far a network comes when it is captured, lowered and run.

    Never raises: an error is what the result says is missing.
    """
    result = CoverageResult(architecture=architecture, model=name)
    try:
        model = random_model(name, arguments=architecture.arguments)
        result = replace(result, parameters=model.parameters, input_size=model.input_size)
        graph = capture(model.network, name, model.input_size)
        difference = _difference(model, graph)
        if not difference <= FLOAT_TOLERANCE:
            wrong = f"the captured graph computes something else: logits differ by {difference:.1e}"
            return replace(result, missing=wrong)
        result = replace(result, nodes=len(graph.nodes))
        lowered = with_random_weights(model, graph, Recipe(weight_bits=weight_bits), profile)
        result = replace(result, ops=len(lowered.ops), float_ops=lowered.float_ops)
        compared, unequal = _compared(lowered, _images(model.input_size))
    except (UnsupportedOperatorError, LoweringError) as error:
        return replace(result, missing=error.plainly)
    except Exception as error:  # one network that cannot be built ends no table
        return replace(result, missing=_first_line(error, name))
    if unequal:
        return replace(result, missing=f"integers differ in {', '.join(unequal)}")
    return replace(result, compared=compared)


def with_random_weights(
    model: LoadedModel, graph: FloatGraph, recipe: Recipe, profile: NpuProfile
) -> IntGraph:
    """Quantize a captured network for a chip on random images by base_ptq, and lower it.

    Raises
    ------
    InputError
        If the profile cannot hold what the recipe asks for, or the network cannot be lowered.
    """
    recipe = replace(recipe, weight_range="minmax")
    limits = limits_of(profile, recipe)
    check_recipe(recipe, limits, profile)
    generator = torch.Generator().manual_seed(recipe.seed)
    images = torch.randn(2, *model.input_size, generator=generator)
    return lower(calibrated("base_ptq", graph, images, recipe, limits), profile)


def _images(input_size: tuple[int, int, int]) -> torch.Tensor:
    return torch.randn(2, *input_size, generator=torch.Generator().manual_seed(1))


def _difference(model: LoadedModel, graph: FloatGraph) -> float:
    """Return how far the captured graph is from its network, as a part of the largest logit."""
    images, output = _images(model.input_size), graph.output.name
    with torch.inference_mode():
        expected = model.network(images)
        found = run(graph, {graph.input.name: images}, [output])[output]
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def _compared(graph: IntGraph, images: torch.Tensor) -> tuple[int, Sequence[str]]:
    """Return how many integers were compared, and the first ops that give others.

    Once by the portable kernels, image by image, and once by the fastest ones, both at once.
    """
    source = graph.tensors[graph.inputs[0]]
    codes: NDArray[Any] = quantize(images.numpy(), source)
    taps = [op.name for op in graph.ops]
    fast = Executor(graph, threads=1).run(codes, taps=taps).taps
    portable = Executor(graph, gemm="numba", portable=True, threads=1)
    alone = [portable.run(codes[i : i + 1], taps=taps).taps for i in range(len(codes))]
    unequal = [
        name
        for name in taps
        if not np.array_equal(fast[name], np.concatenate([part[name] for part in alone]))
    ]
    return sum(fast[name].size for name in taps), unequal[:3]


def _first_line(error: Exception, name: str) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0].removeprefix(f"{name}: ") if lines else "no details"
    return f"{type(error).__name__}: {text}"


HEAD = ("family", "model", "M parameters", "image", "captured", "lowered", "bit-exact", "missing")


def row(result: CoverageResult) -> tuple[str, ...]:
    """Return a result as a line of the table: one text for each of :data:`HEAD`."""
    image = result.input_size
    given = " ".join(f"{key}={value}" for key, value in result.architecture.arguments.items())
    floats = f", {result.float_ops} float" if result.float_ops else ""
    return (
        result.architecture.name,
        result.model + (f" ({given})" if given else ""),
        "" if result.parameters is None else f"{result.parameters / 1e6:.1f}",
        "" if image is None else f"{image[1]} x {image[2]}",
        "no" if result.nodes is None else f"{result.nodes} nodes",
        "no" if result.ops is None else f"{result.ops} ops{floats}",
        "no" if result.compared is None else "yes",
        result.missing,
    )
