# SPDX-License-Identifier: Apache-2.0
"""Quantized networks that have the same bits on every CPU, for hashes that a test keeps.

Parameters and images are drawn as whole numbers. The networks are calibrated in float64 and the
scales found are rounded to float32: CPUs sum in different orders, and what that changes lies far
below the last bit of a float32.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatOp, capture
from aocq.demo.digits import load_split
from aocq.demo.model import vit_nano_digits
from aocq.jobs.calibration import calibrated
from aocq.lowering import check_recipe, lower
from aocq.methods import QuantizedModel
from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer, Quantizer
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ChipLimits, limits_of
from aocq.recipes.recipe import Recipe
from aocq.zoo.models import timm
from simulator.boundary import quantize
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph, sha256
from simulator.profile import NpuProfile, load_profile, profile_paths

sys.path.insert(0, str(Path(__file__).parents[1] / "aocq"))

from families import EXAMPLES

DEMO = "vit_nano_digits"
METHOD = "base_ptq"
# As ``base_ptq``, and what PTQ4ViT leaves in float has no quantizers.
WITH_FLOATS = "with_floats"
LEFT_IN_FLOAT = {FloatOp.ADD, FloatOp.LAYERNORM, FloatOp.SOFTMAX, FloatOp.UNARY}
# Methods that make graphs of another kind: channel factors, powers of two, float ops.
OTHER_METHODS = ("aocq", "fq_vit", WITH_FLOATS)
RECIPE = Recipe(
    weight_range="minmax",
    aocq=AocqOptions(scale_passes=0, search_images=4, rounding="nearest"),
)
CALIBRATION_IMAGES = 4
RUN_IMAGES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One graph of the net: a network, quantized by a method, lowered for a profile."""

    profile: str
    network: str
    method: str

    @property
    def name(self) -> str:
        """The case in one line, as the record has it."""
        return f"{self.profile} {self.network} {self.method}"


def cases() -> list[Case]:
    """Return every case: all profiles with the plain method, some with the others."""
    networks = (DEMO, *EXAMPLES)
    found = [
        Case(profile=profile, network=network, method=METHOD)
        for profile in sorted(profile_paths())
        for network in networks
    ]
    found += [
        Case(profile=profile, network=DEMO, method=method)
        for profile in sorted(profile_paths())
        for method in OTHER_METHODS
    ]
    return found + [
        Case(profile="edge_npu_int8", network=network, method=method)
        for network in EXAMPLES
        for method in OTHER_METHODS
    ]


def fingerprint(case: Case) -> Mapping[str, str]:
    """Return the sha256 of a case's graph and of its logits' codes, or what refuses it."""
    try:
        graph = lowered(case)
    except InputError as error:
        return {"refused": str(error)}
    source = graph.tensors[graph.inputs[0]]
    codes = quantize(images_of(case.network, RUN_IMAGES).float().numpy(), source)
    logits = Executor(graph, threads=1).run(codes).outputs[graph.outputs[0]]
    return {"graph": sha256(_scales_in_float32(graph)), "logits": _digest(logits)}


def lowered(case: Case) -> IntGraph:
    """Return the graph of a case.

    Raises
    ------
    InputError
        If the profile cannot hold the recipe, or the network cannot be lowered for it.
    """
    profile = load_profile(case.profile)
    recipe = recipe_for(profile)
    limits = limits_of(profile, recipe)
    check_recipe(recipe, limits, profile, leaves_floats=case.method == WITH_FLOATS)
    return lower(_quantized(case.network, case.method, recipe, limits), profile)


def recipe_for(profile: NpuProfile) -> Recipe:
    """Return the recipe of all cases, with narrow operands where a profile states their width."""
    operand_bits = profile.activation.operand_bits
    if operand_bits is None:
        return RECIPE
    return replace(RECIPE, weight_bits=4, activation_bits=operand_bits, end_bits=8)


@cache
def _quantized(network: str, method: str, recipe: Recipe, limits: ChipLimits) -> QuantizedModel:
    graph = captured(network)
    wide = replace(graph, parameters={n: _wide(p) for n, p in graph.parameters.items()})
    calibration = images_of(network, CALIBRATION_IMAGES)
    own = METHOD if method == WITH_FLOATS else method
    model = calibrated(own, wide, calibration, recipe, limits)
    if method == WITH_FLOATS:
        model = replace(model, activations=_without_floats(model), layernorm_quantizers={})
    held = {name: _in_float32(quantizer) for name, quantizer in model.activations.items()}
    parts = {name: _in_float32(part) for name, part in model.layernorm_quantizers.items()}
    return replace(model, graph=graph, activations=held, layernorm_quantizers=parts)


@cache
def captured(network: str) -> FloatGraph:
    """Return the float graph of a network with parameters of :func:`draw_parameters`."""
    if network == DEMO:
        return capture(vit_nano_digits(pretrained=True).eval(), DEMO, (3, 8, 8))
    example = EXAMPLES[network]
    built = timm.create_model(network, pretrained=False, **example.arguments)
    graph = capture(draw_parameters(built), network, example.input_size)
    return replace(graph, parameters={n: _on_grid(p) for n, p in graph.parameters.items()})


def _on_grid(tensor: Tensor) -> Tensor:
    """Return multiples of 2^-16: what capture computes of parameters differs in the last bits.

    The border between two multiples is not dyadic, so that no value that is lies on it.
    """
    if not tensor.is_floating_point():
        return tensor
    return ((tensor.double() * 2**16 + 0.3).floor() / 2**16).float()


def draw_parameters(network: nn.Module) -> nn.Module:
    """Replace all parameters and statistics by multiples of 2^-12, the same on every machine."""
    generator = np.random.Generator(np.random.PCG64(7))
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if not tensor.is_floating_point() or "bias_mask" in name:
            continue
        drawn = generator.integers(-2048, 2048, size=tuple(tensor.shape)) / 2048.0
        if tensor.ndim >= 2:
            drawn *= 2.0 ** -np.floor(np.log2(tensor[0].numel()) / 2)
        elif name.endswith(("weight", "var")):
            drawn = 1 + drawn / 2
        else:
            drawn /= 2
        tensor.data = torch.from_numpy(drawn).float()
    return network.eval().requires_grad_(requires_grad=False)


def images_of(network: str, count: int) -> Tensor:
    """Return preprocessed images [count, channels, height, width], float64."""
    if network == DEMO:
        ink = load_split("calib").images[:count, None].astype(np.float64) / 8 - 1
        return torch.from_numpy(np.repeat(ink, 3, axis=1))
    size = (count, *EXAMPLES[network].input_size)
    drawn = np.random.Generator(np.random.PCG64(3)).integers(-128, 128, size=size)
    return torch.from_numpy(drawn / 64)


def _without_floats(model: QuantizedModel) -> Mapping[str, Quantizer]:
    return {
        name: quantizer
        for name, quantizer in model.activations.items()
        if model.graph.node(name).op not in LEFT_IN_FLOAT
    }


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _in_float32(quantizer: Quantizer) -> Quantizer:
    """Return a quantizer whose real numbers are those of a float32."""
    if isinstance(quantizer, LogarithmicQuantizer):
        return quantizer  # has whole numbers only
    rounded = {"scale": float(np.float32(quantizer.scale))}
    if isinstance(quantizer, LevelQuantizer):
        return replace(quantizer, **rounded)
    assert isinstance(quantizer, ActivationQuantizer)
    # Channel factors stay: LayerNorms need them to be to each other as whole numbers.
    return replace(quantizer, **rounded, table_scale=float(np.float32(quantizer.table_scale)))


def _scales_in_float32(graph: IntGraph) -> IntGraph:
    """Return a graph whose scales, which reports alone read, are rounded to float32.

    Those of AOCQ's balanced inputs have channel factors that CPUs sum up differently. The integers
    do not depend on their last bits.
    """
    tensors = {
        name: replace(tensor, scale=tuple(float(np.float32(scale)) for scale in tensor.scale))
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def _digest(codes: NDArray[np.generic]) -> str:
    little_endian = codes.astype(codes.dtype.newbyteorder("<"))
    return hashlib.sha256(little_endian.tobytes()).hexdigest()
