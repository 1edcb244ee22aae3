# SPDX-License-Identifier: Apache-2.0
"""Advice on a checkpoint that does not fit: only what was tried, and fitted."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from timm.models import create_model, is_model, list_models, model_entrypoint
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from aocq.checkpoint.fitting import NOT_PART, Fit, fit
from simulator.settings import typed

# What starts parameters; it takes most of the time, and there are no values to start.
_STARTS = frozenset(
    {"uniform_", "normal_", "erfinv_", "mul_", "add_", "clamp_", "zero_", "fill_", "copy_"}
)
FEW = 3  # names that are told one by one
NEIGHBOURS = 8  # names that are tried, each less than a tenth of a second
GENERIC = (
    "where the network differs from its name, say how: --model-kwargs img_size=… {depth}=…; or "
    "pass the name of the network that it is of"
)
# (pattern of a name in a file, whose names they are)
FOREIGN = (
    (
        r"embeddings\.(patch_embeddings|cls_token)|(^|\.)encoder\.layers?\.\d+\.(attention|self_attn|"
        r"layernorm)",
        "Hugging Face's transformers",
    ),
    (r"^conv_proj\.weight$|encoder\.layers\.encoder_layer_0|^features\.\d+\.\d+\.", "torchvision"),
    (r"^(student|teacher)\.", "a training script that keeps two networks"),
)


class _Unstarted(TorchFunctionMode):
    """Leaves parameters as they were allocated."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _STARTS:
            return (*args, *(kwargs or {}).values())[0]
        return func(*args, **(kwargs or {}))


def outline(name: str, options: Mapping[str, Any]) -> nn.Module | None:
    """Build a network of shapes without values; None where it cannot be.

    ``options`` are arguments of its constructor, class count among them.
    """
    try:
        with _Unstarted(), torch.device("meta"):
            network: nn.Module = create_model(name, pretrained=False, **options)
    except Exception:  # whatever a constructor raises that computes with values
        return None
    return network


def classifiers(network: nn.Module) -> tuple[str, ...]:
    """Return the names of a network's last layers' weights."""
    config: Mapping[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    return tuple(f"{layer}.weight" for layer in ([named] if isinstance(named, str) else named))


def other_classes(found: Fit, network: nn.Module) -> tuple[str, int, int] | None:
    """Return the last layer, and the classes that a file and the network have, if they differ."""
    wanted = network.state_dict()
    for key in classifiers(network):
        both = key in found.tensors and key in wanted
        if both and found.tensors[key].shape[1:] == wanted[key].shape[1:]:
            has, wants = len(found.tensors[key]), len(wanted[key])
            if has != wants:
                return key, has, wants
    return None


def way_out(
    tensors: Mapping[str, Tensor], network: nn.Module, name: str, options: Mapping[str, Any]
) -> str:
    """Return what to do with a checkpoint that does not fit.

    ``options`` are the network's constructor arguments and, where given, its ``num_classes``. No
    advice is given that would need resampling.
    """
    found = fit(tensors, network, name, {})
    wanted = network.state_dict()
    heads = {f"{key} is missing" for key in _heads(network)}
    if heads and set(found.problems) <= heads:
        return "it has no classifier, only what comes before; use a checkpoint that has one"
    ways = [*_other_names(tensors, network, name)]
    for other in _candidates(found, network, options, _blocks(tensors)):
        candidate = outline(name, other)
        if candidate is not None and not fit(tensors, candidate, name, {}).problems:
            changed = {key: value for key, value in other.items() if options.get(key) != value}
            ways.append(f"pass {_options(changed)}")
            break
    if ways:
        return ", or ".join(ways)
    if strangers := _strangers(found, wanted):
        return f"all else is there: remove {strangers} from the state_dict()"
    if not set(wanted) & set(tensors):
        for pattern, whose in FOREIGN:
            if any(re.search(pattern, key) for key in tensors):
                return f"its names are those of {whose}: save it with timm's names"
        if prefix := _prefix(tensors, wanted):
            return f"all its names begin with {prefix!r}: save it without"
    return GENERIC.format(depth=_depth(network))


def _depth(network: nn.Module) -> str:
    """Return the constructor's argument that says how many blocks a network has."""
    own = inspect.signature(type(network).__init__).parameters
    return "depth" if "depth" in own else "depths"


def _blocks(names: Iterable[str]) -> int:
    """Return how many blocks a network without stages has, by its tensors' names."""
    found = (re.match(r"blocks\.(\d{1,4})\.", name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _strangers(found: Fit, wanted: Mapping[str, Tensor]) -> str:
    """Return the few tensors of a file that are of no part of a network, where all else fits."""
    if found.problems != found.unknown:
        return ""
    parts = {key.partition(".")[0] for key in wanted}
    names = [problem.removesuffix(NOT_PART) for problem in found.unknown]
    few = len(names) <= FEW and not any(name.partition(".")[0] in parts for name in names)
    return " and ".join(names) if few else ""


def _other_names(tensors: Mapping[str, Tensor], network: nn.Module, name: str) -> Iterator[str]:
    """Yield the nearest name that a checkpoint is of."""
    classes = _classes(tensors, network)
    for neighbour in _neighbours(name):
        candidate = outline(neighbour, classes)
        if candidate is not None and not fit(tensors, candidate, neighbour, {}).problems:
            usual = getattr(candidate, "pretrained_cfg", {}).get("num_classes")
            more = f" and {_options(classes)}" if classes.get("num_classes", usual) != usual else ""
            yield f"it is one of {neighbour}: pass that name{more}"
            return


def _options(changed: Mapping[str, Any]) -> str:
    classes = {key: value for key, value in changed.items() if key == "num_classes"}
    others = {key: value for key, value in changed.items() if key != "num_classes"}
    parts = [f"--num-classes {value}" for value in classes.values()]
    return " ".join([*parts, *([f"--model-kwargs {typed(others)}"] if others else [])])


def _heads(network: nn.Module) -> list[str]:
    layers = [key.removesuffix("weight") for key in classifiers(network)]
    return [key for key in network.state_dict() if key.startswith(tuple(layers) or ("\0",))]


def _classes(tensors: Mapping[str, Tensor], network: nn.Module) -> dict[str, Any]:
    for key in classifiers(network):
        if key in tensors and tensors[key].ndim:
            return {"num_classes": len(tensors[key])}
    return {}


def _candidates(
    found: Fit, network: nn.Module, options: Mapping[str, Any], blocks: int
) -> Iterator[dict[str, Any]]:
    """Yield options that shapes in a file speak of, without those that are the network's own."""
    wanted, there = network.state_dict(), found.tensors
    suggested: dict[str, Any] = {}
    classes = other_classes(found, network)
    if classes:
        suggested["num_classes"] = classes[1]
    if blocks not in {0, _blocks(wanted)} and _depth(network) == "depth":
        suggested["depth"] = blocks
    if {"patch_embed.proj.weight"} <= there.keys() & wanted.keys():
        has, wants = there["patch_embed.proj.weight"], wanted["patch_embed.proj.weight"]
        if has.ndim == wants.ndim == 4:
            if has.shape[1] != wants.shape[1]:
                suggested["in_chans"] = has.shape[1]
            if has.shape[2:] != wants.shape[2:]:
                height, width = has.shape[2:]
                suggested["patch_size"] = height if height == width else (height, width)
            if side := _image_side(there, network, int(has.shape[2])):
                suggested["img_size"] = side
    if suggested:
        yield {**options, **suggested}
    if window := _window(there, wanted):
        yield {**options, **suggested, "window_size": window, **_unless(options, window * 32)}
        patch = wanted.get("patch_embed.proj.weight")
        if patch is not None:  # windows that are the whole image
            yield {**options, **suggested, "img_size": window * patch.shape[-1]}


def _unless(options: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Return the usual image of a window, where none is asked for."""
    return {} if "img_size" in options else {"img_size": side}


def _window(there: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> int:
    """Return the side of the window that a file's relative positions are of; 0 if as wanted."""
    for key, table in there.items():
        other = key.endswith("relative_position_bias_table") and table.shape != wanted[key].shape
        if other and table.ndim == 2:
            return (math.isqrt(len(table)) + 1) // 2
    return 0


def _image_side(there: Mapping[str, Tensor], network: nn.Module, patch: int) -> int | None:
    """Return the side of square images that a table of positions is for, where it is another's."""
    table, own = there.get("pos_embed"), network.state_dict().get("pos_embed")
    if table is None or own is None or table.ndim != 3:
        return None
    kernel = network.state_dict()["patch_embed.proj.weight"]
    if table.shape == own.shape and kernel.shape[2] == patch:
        return None
    for extra in (0, 1, 2, int(getattr(network, "num_prefix_tokens", 1))):
        patches = table.shape[1] - extra
        if patches > 0 and math.isqrt(patches) ** 2 == patches:
            return math.isqrt(patches) * patch
    return None


def _neighbours(name: str) -> list[str]:
    """Return the names nearest to a model's: those that differ in the fewest parts."""
    base = name.partition(".")[0]
    if not is_model(base):
        return []

    def distance(other: str) -> tuple[int, float]:
        apart = set(base.split("_")) ^ set(other.split("_"))
        return len(apart), -difflib.SequenceMatcher(None, base, other).ratio()

    module = model_entrypoint(base).__module__.rpartition(".")[2]
    known = [other for other in list_models(module=module) if other != base]
    return sorted(known, key=distance)[:NEIGHBOURS]


def _prefix(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return what comes before a network's names in a file, where all but a few of them are so."""
    ends = [key for key in wanted if key.count(".") > 1][:3]
    for key in tensors:
        if ends and key.endswith(f".{ends[0]}"):
            prefix = key.removesuffix(ends[0])
            if all(prefix + end in tensors for end in ends) and prefix.isprintable():
                return prefix if len(prefix) < 60 else ""
    return ""
