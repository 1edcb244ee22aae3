# SPDX-License-Identifier: Apache-2.0
"""timm models by name, with weights from a file, from the package, or from timm's hub."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from aocq.zoo import options as model_options
from aocq.zoo import published
from aocq.zoo.options import RESERVED, check_arguments
from aocq.zoo.torchvision_compat import declare_missing_operators
from simulator.errors import EnvironmentProblem, InputError
from simulator.settings import typed

declare_missing_operators()

import timm  # noqa: E402  (cannot be imported before the operators are declared)
from timm.data import resolve_model_data_config  # noqa: E402
from timm.models import get_pretrained_cfg  # noqa: E402

import aocq.demo.dense_model  # noqa: E402  (registers the demo's networks)
import aocq.demo.model  # noqa: E402, F401
from aocq import checkpoint  # noqa: E402
from aocq.checkpoint import advice  # noqa: E402


class WeightsUnavailable(EnvironmentProblem):
    """Pretrained weights cannot be fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A float network in evaluation mode.

    Attributes
    ----------
    preprocessing
        timm's data configuration: input_size, interpolation, mean, std, crop_pct, crop_mode
    checkpoint_sha256
        of the weights file; of the loaded weights themselves where they came from timm's hub
    arguments
        of the constructor, where they are not those of timm's name
    weights_taken
        sentences, without a full stop: which weights of the file they are where it has several,
        what was left out, what was resampled
    """

    name: str
    network: nn.Module
    classes: int
    preprocessing: Mapping[str, Any]
    checkpoint_sha256: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights_taken: tuple[str, ...] = ()

    @property
    def input_size(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.preprocessing["input_size"]
        return channels, height, width

    @property
    def parameters(self) -> int:
        """Number of weights, biases and tokens."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def table_bytes(self) -> int:
        """Bytes of what is computed, not trained: indices of relative positions, masks."""
        return sum(buffer.numel() * buffer.itemsize for buffer in self.network.buffers())


def load_model(
    name: str,
    weights: Path | None = None,
    classes: int | None = None,
    *,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    preprocessing: Mapping[str, Any] = MappingProxyType({}),
) -> LoadedModel:
    """Build a timm model and load its weights.

    Parameters
    ----------
    name
        a timm model name, with or without a weight tag (``vit_tiny_patch16_224.augreg_in21k``)
    weights
        a safetensors or pickled file (``.pth``, ``.pt``), told apart by content, with timm's names
        or those that timm converts to them; None takes timm's own pretrained weights, which needs
        the network (the bundled demo model excepted)
    classes
        class count, where it is not the model's default
    arguments
        of the constructor that differ from those of the name (``img_size``, ``depths``)
    preprocessing
        what differs from timm's data configuration of the name (``mean``, ``crop_pct``)

    Raises
    ------
    InputError
        If the model or its weight tag is unknown, the constructor or timm's data configuration
        does not take what differs, or the file is missing, corrupt, of another
        model, of another class count, or holds values that are not finite.
    EnvironmentProblem
        If pretrained weights are wanted and cannot be fetched.
    """
    found = published_weights(name)
    if weights is None:
        published.check_weights(name, classes, found, timm.__version__)
    check_arguments(name, arguments)
    options = _options(classes, arguments)
    taken: tuple[str, ...] = ()
    if weights is None:
        network = _pretrained(name, options)
    else:
        network = _built(name, options)
        given = checkpoint.read_for(network, weights)
        taken = _load_weights(network, given, name, options, arguments)
    _check_finite(network, weights or name)
    loaded = _loaded(name, network, weights, arguments, preprocessing)
    return replace(loaded, weights_taken=taken)


def random_model(
    name: str,
    classes: int | None = None,
    *,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    preprocessing: Mapping[str, Any] = MappingProxyType({}),
) -> LoadedModel:
    """Build a timm model with random weights, always the same; see :func:`load_model`.

    Parameters that timm starts at one value vary, too: a scale of 0 hides the branch behind it, and
    tensors of nothing but zeros have no range that could be quantized. Trained networks have
    neither.
    """
    published_weights(name)
    check_arguments(name, arguments)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _built(name, _options(classes, arguments)).requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        if bool((parameter == parameter.flatten()[0]).all()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return _loaded(name, network, None, arguments, preprocessing)


def _options(classes: int | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {**arguments, **({} if classes is None else {"num_classes": classes})}


def class_count(name: str) -> int | None:
    """Return how many classes a network has by its name; None where timm does not say.

    Raises
    ------
    InputError
        If timm has no such model.
    """
    found = published_weights(name)
    return found.classes or None if found else None


def published_weights(name: str) -> published.Weights | None:
    """Return what timm knows of published weights; InputError where it has no such model."""
    published.keep_for_later()
    if not timm.is_model(name):
        raise InputError(published.unknown_name(name, timm.__version__, timm.list_models()))
    try:
        config = get_pretrained_cfg(name)
    except RuntimeError as error:  # no such weight tag
        known = timm.list_models(f"{name.partition('.')[0]}.*", include_tags=True)
        tags = [tagged.partition(".")[2] for tagged in known]
        raise InputError(published.unknown_tag(name, timm.__version__, tags)) from error
    return None if config is None else published.weights_of(config)


def _loaded(
    name: str,
    network: nn.Module,
    weights: Path | None,
    arguments: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
) -> LoadedModel:
    network.eval().requires_grad_(requires_grad=False)
    return LoadedModel(
        name=name,
        network=network,
        classes=int(network.num_classes),  # type: ignore[arg-type]
        preprocessing=model_options.preprocessing(
            name, resolve_model_data_config(network), arguments, preprocessing
        ),
        checkpoint_sha256=_sha256(network, weights),
        arguments=MappingProxyType(dict(arguments)),
    )


def _built(name: str, options: Mapping[str, Any]) -> nn.Module:
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, **options)
    except (
        *(ArithmeticError, AssertionError, AttributeError, LookupError),
        *(RuntimeError, TypeError, ValueError),
    ) as error:
        unknown = re.search(r"unexpected keyword argument(?:\(s\): \[)? ?'(\w+)'", str(error))
        if unknown and unknown[1] in options:
            raise InputError(_unknown_argument(name, unknown[1])) from error
        raise InputError(
            f"model {name}: timm {timm.__version__} cannot build it with "
            f"{typed(options) or 'its defaults'} "
            f"({type(error).__name__}: {error}); see --model-kwargs"
        ) from error
    return network


def _arguments(constructor: type[nn.Module]) -> list[str]:
    """Return what a model's constructor takes, and those that it hands ``**kwargs`` on to."""
    found: dict[str, None] = {}
    for kind in constructor.__mro__:
        parameters = inspect.signature(vars(kind).get("__init__", lambda **rest: None)).parameters
        given = parameters.values()
        named = [p.name for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        found |= dict.fromkeys(named)
        if not any(p.kind is p.VAR_KEYWORD for p in given):
            break
    return [key for key in found if key not in {*RESERVED, "self", "cfg", "device", "dtype"}]


def _unknown_argument(name: str, key: str) -> str:
    """Return what to say of an argument that a model's constructor does not have."""
    with torch.device("meta"):  # shapes without values
        constructor = type(timm.create_model(name, pretrained=False))
    known = _arguments(constructor)
    near = difflib.get_close_matches(key, known, n=3)
    return (
        f"model {name}: --model-kwargs {key}: timm's {constructor.__name__} has no such argument; "
        + (f"nearest: {', '.join(near)}" if near else f"it has {', '.join(known)}")
    )


def _pretrained(name: str, options: Mapping[str, Any]) -> nn.Module:
    if options:
        _built(name, options)  # what cannot be built has no weights to fetch
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # whatever the hub's client raises: no common base class
        raise WeightsUnavailable(
            f"model {name}: its pretrained weights cannot be fetched ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no details'}); pass --weights FILE "
            "(.safetensors or .pth) or connect to the network"
        ) from error
    return network


def _load_weights(
    network: nn.Module,
    given: checkpoint.Checkpoint,
    name: str,
    options: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> tuple[str, ...]:
    """Load a checkpoint completely or say what does not fit; return which weights were taken."""
    found = checkpoint.fit(given.tensors, network, name, arguments)
    if found.problems:
        raise InputError(
            f"{given.path}: {_misfit(network, given, found, name, options, arguments)}"
        )
    network.load_state_dict(dict(found.tensors), strict=False)  # tables are the network's own
    return (*given.taken, *found.notes)


def _misfit(
    network: nn.Module,
    given: checkpoint.Checkpoint,
    found: checkpoint.Fit,
    name: str,
    options: Mapping[str, Any],
    arguments: Mapping[str, Any],
) -> str:
    """Return what to say of a checkpoint that does not fit."""
    problems = found.problems
    shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" * (len(problems) > 5))
    if problems == found.values:
        return shown
    classes = advice.other_classes(found, network)
    if classes:
        key, has, wants = classes
        other = advice.outline(name, {**options, "num_classes": has})
        if other and not checkpoint.fit(given.tensors, other, name, arguments).problems:
            return f"{key} has {has} classes, {name} has {wants}; pass --num-classes {has}"
    built = f" with {typed(arguments)}" if arguments else ""
    way_out = advice.way_out(given.tensors, network, name, options)
    return f"is not a checkpoint of {name}{built}: {shown}; {way_out}"


def _check_finite(network: nn.Module, origin: Path | str) -> None:
    for key, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            values = "values that are" if bad > 1 else "value that is"
            raise InputError(
                f"{origin}: {key} has {bad} {values} not finite (NaN or infinity); "
                "use a checkpoint of a sound training run"
            )


def _sha256(network: nn.Module, weights: Path | None) -> str:
    if weights is not None:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
