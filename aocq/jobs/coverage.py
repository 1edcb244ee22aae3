# SPDX-License-Identifier: Apache-2.0
"""How far timm's vision transformers come: captured, lowered, run bit-exactly; or what is missing.

Each is tried with random weights on random images. So nothing is said of accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aocq.capture import FloatGraph, UnsupportedOperatorError, capture, run
from aocq.jobs.sizing import size_up
from aocq.lowering import LoweringError
from aocq.recipes.recipe import Recipe
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
class Relative:
    """Networks of timm that are built alike, of which the smallest is tried.

    Attributes
    ----------
    name
        for people
    module
        of ``timm.models``
    pattern
        shell pattern of the models, where the module has others too
    arguments
        of the constructor: what cuts the network to fit
    """

    name: str
    module: str
    pattern: str = "*"
    arguments: Mapping[str, Any] = field(default_factory=dict)


_AT_224: Mapping[str, Any] = MappingProxyType({"img_size": 224})

RELATIVES: tuple[Relative, ...] = (
    Relative(name="ViT", module="vision_transformer", pattern="vit_*_patch*_224"),
    Relative(name="DINOv2", module="vision_transformer", pattern="vit_*_dinov2", arguments=_AT_224),
    Relative(
        name="DINOv2 with registers",
        module="vision_transformer",
        pattern="vit_*_reg4_dinov2",
        arguments=_AT_224,
    ),
    Relative(name="SigLIP", module="vision_transformer", pattern="vit_*_siglip_224"),
    Relative(name="ViT with relative positions", module="vision_transformer_relpos"),
    Relative(name="ViT behind a ResNet", module="vision_transformer_hybrid"),
    Relative(name="SAM", module="vision_transformer_sam", pattern="*_224"),
    Relative(name="NaFlexViT", module="naflexvit"),
    Relative(name="DeiT", module="deit", pattern="deit_*"),
    Relative(name="DeiT-III", module="deit", pattern="deit3_*"),
    Relative(name="BEiT", module="beit", pattern="beit_*"),
    Relative(name="BEiT v2", module="beit", pattern="beitv2_*"),
    Relative(name="EVA-02", module="eva", pattern="eva02_*_224"),
    Relative(name="DINOv3", module="eva", pattern="*_dinov3*"),
    Relative(name="CaiT", module="cait"),
    Relative(name="Swin", module="swin_transformer"),
    Relative(name="Swin v2", module="swin_transformer_v2"),
    Relative(name="Swin v2 CR", module="swin_transformer_v2_cr"),
    Relative(name="LeViT", module="levit", pattern="levit_[0-9]*"),
    Relative(name="LeViT with convolutions", module="levit", pattern="levit_conv_*"),
    Relative(name="PiT", module="pit"),
    Relative(name="PVT v2", module="pvt_v2"),
    Relative(name="Twins", module="twins"),
    Relative(name="CrossViT", module="crossvit"),
    Relative(name="ConViT", module="convit"),
    Relative(name="XCiT", module="xcit"),
    Relative(name="TNT", module="tnt"),
    Relative(name="VOLO", module="volo"),
    Relative(name="NesT", module="nest"),
    Relative(name="Visformer", module="visformer"),
    Relative(name="CoaT", module="coat"),
    Relative(name="GC ViT", module="gcvit"),
    Relative(name="MViT v2", module="mvitv2"),
    Relative(name="Hiera", module="hiera"),
    Relative(name="DaViT", module="davit"),
    Relative(name="TinyViT", module="tiny_vit"),
    Relative(name="ViTamin", module="vitamin"),
    Relative(name="EfficientFormer", module="efficientformer"),
    Relative(name="EfficientFormer v2", module="efficientformer_v2"),
    Relative(name="EfficientViT (MIT)", module="efficientvit_mit"),
    Relative(name="EfficientViT (MSRA)", module="efficientvit_msra"),
    Relative(name="MobileViT", module="mobilevit"),
    Relative(name="Next-ViT", module="nextvit"),
    Relative(name="FastViT", module="fastvit"),
    Relative(name="MaxViT, CoAtNet", module="maxxvit"),
    Relative(name="MLP-Mixer", module="mlp_mixer", pattern="mixer_*"),
    Relative(name="ResMLP", module="mlp_mixer", pattern="resmlp_*"),
    Relative(name="gMLP", module="mlp_mixer", pattern="gmlp_*"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How far one network came.

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

    relative: Relative
    model: str
    parameters: int | None = None
    input_size: tuple[int, int, int] | None = None
    nodes: int | None = None
    ops: int | None = None
    float_ops: int | None = None
    compared: int | None = None
    missing: str = ""


def matching(pattern: str, advance: Callable[[int], None]) -> dict[str, Relative]:
    """Return, by model, the smallest network of each kind whose name matches a shell pattern.

    Where none of :data:`RELATIVES` has such a name, a kind is a module of ``timm.models``. What
    timm has for its own tests (``test_vit``) is left out. ``advance`` is called with 1 after each
    of :data:`RELATIVES`.
    """
    others = (Relative(name=name, module=name) for name in list_modules())
    return _smallest(RELATIVES, pattern, advance) or _smallest(others, pattern, lambda steps: None)


def _smallest(
    relatives: Iterable[Relative], pattern: str, advance: Callable[[int], None]
) -> dict[str, Relative]:
    found = {}
    for relative in relatives:
        names = [
            name
            for name in timm.list_models(module=relative.module)
            if fnmatch(name, pattern)
            and fnmatch(name, relative.pattern)
            and not name.startswith("test_")
        ]
        if names:
            found[min(names, key=_parameters)] = relative
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


def survey(name: str, relative: Relative, profile: NpuProfile, weight_bits: int) -> Finding:
    """Capture, lower and run a network as far as it goes.

    Never raises: whatever it stops at is what the finding says is missing.
    """
    finding = Finding(relative=relative, model=name)
    try:
        model = random_model(name, arguments=relative.arguments)
        finding = replace(finding, parameters=model.parameters, input_size=model.input_size)
        graph = capture(model.network, name, model.input_size)
        difference = _difference(model, graph)
        if not difference <= FLOAT_TOLERANCE:
            wrong = f"the captured graph computes something else: logits differ by {difference:.1e}"
            return replace(finding, missing=wrong)
        finding = replace(finding, nodes=len(graph.nodes))
        lowered = size_up(model, graph, Recipe(weight_bits=weight_bits), profile).graph
        finding = replace(finding, ops=len(lowered.ops), float_ops=lowered.float_ops)
        compared, unequal = _compared(lowered, _images(model.input_size))
    except (UnsupportedOperatorError, LoweringError) as error:
        return replace(finding, missing=error.plainly)
    except Exception as error:  # one network that cannot be built ends no survey
        return replace(finding, missing=_first_line(error, name))
    if unequal:
        return replace(finding, missing=f"integers differ in {', '.join(unequal)}")
    return replace(finding, compared=compared)


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


def row(finding: Finding) -> tuple[str, ...]:
    """Return a finding as a line of the table: one text for each of :data:`HEAD`."""
    image = finding.input_size
    given = " ".join(f"{key}={value}" for key, value in finding.relative.arguments.items())
    floats = f", {finding.float_ops} float" if finding.float_ops else ""
    return (
        finding.relative.name,
        finding.model + (f" ({given})" if given else ""),
        "" if finding.parameters is None else f"{finding.parameters / 1e6:.1f}",
        "" if image is None else f"{image[1]} x {image[2]}",
        "no" if finding.nodes is None else f"{finding.nodes} nodes",
        "no" if finding.ops is None else f"{finding.ops} ops{floats}",
        "no" if finding.compared is None else "yes",
        finding.missing,
    )
