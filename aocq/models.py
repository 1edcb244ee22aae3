# SPDX-License-Identifier: Apache-2.0
"""timm models by name, with weights from a file, from the package, or from timm's hub."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from aocq import model_options
from aocq.model_options import RESERVED, check_arguments
from aocq.torchvision_compat import declare_missing_operators
from simulator.errors import EnvironmentProblem, InputError
from simulator.results import typed

declare_missing_operators()

import timm  # noqa: E402  (cannot be imported before the operators are declared)
from timm.data import resolve_model_data_config  # noqa: E402
from timm.models import PretrainedCfg, get_pretrained_cfg  # noqa: E402

import aocq.demo.model  # noqa: E402, F401  (registers vit_nano_digits)


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
    """

    name: str
    network: nn.Module
    classes: int
    preprocessing: Mapping[str, Any]
    checkpoint_sha256: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

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
        a ``.safetensors``, ``.pth`` or ``.pt`` file with timm's keys; None takes timm's own
        pretrained weights, which needs the network (the bundled demo model excepted)
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
    published = published_config(name)
    if weights is None and (published is None or not published.has_weights):
        raise InputError(
            f"model {name}: timm {timm.__version__} has no pretrained weights of it; pass "
            "--weights FILE (.safetensors or .pth)"
        )
    if weights is None and classes is not None and published and classes != published.num_classes:
        raise InputError(
            f"model {name}: its pretrained weights have {published.num_classes} classes, not "
            f"{classes}; pass --weights FILE of a network with {classes}"
        )
    check_arguments(name, arguments)
    options = _options(classes, arguments)
    if weights is None:
        network = _pretrained(name, options)
    else:
        network = _built(name, options)
        _load_weights(network, read_checkpoint(weights), name, weights, arguments)
    _check_finite(network, weights or name)
    return _loaded(name, network, weights, arguments, preprocessing)


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
    published_config(name)
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


def published_config(name: str) -> PretrainedCfg | None:
    """Return what timm knows of published weights; InputError where it has no such model."""
    if not timm.is_model(name):
        raise InputError(f"model {name}: timm {timm.__version__} has no such model{_nearest(name)}")
    try:
        return get_pretrained_cfg(name)
    except RuntimeError as error:  # no such weight tag
        tags = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*"))
        raise InputError(f"model {name}: {error}; timm {timm.__version__} has {tags}") from error


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


def _nearest(name: str) -> str:
    known = timm.list_models()
    base = name.partition(".")[0]
    near = difflib.get_close_matches(base, known, n=4, cutoff=0.5)
    return f"; nearest: {', '.join(near)}" if near else "; `aocq models` lists them"


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


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from a ``.safetensors``, ``.pth`` or ``.pt`` file, as float32.

    Pickled files are read with torch's restricted unpickler: code in them is never run. Weights
    nested under ``model``, ``state_dict`` or ``model_ema`` are found.

    Raises
    ------
    InputError
        If the file is missing, damaged, or holds something else than tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; --weights wants a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than tensors, and code in checkpoints is never run; save its "
            "state_dict() as .safetensors"
        ) from error
    except Exception as error:  # of a damaged file, the unpickler raises whatever comes
        raise InputError(
            f"{path}: damaged or not a checkpoint ({type(error).__name__}: {error}); fetch it again"
        ) from error
    for key in ("model", "state_dict", "model_ema"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    ):
        raise InputError(f"{path}: does not hold tensors by name; save the model's state_dict()")
    return {
        name.removeprefix("module."): tensor.to(torch.float32) for name, tensor in loaded.items()
    }


def _load_weights(
    network: nn.Module,
    state: dict[str, Tensor],
    name: str,
    path: Path,
    arguments: Mapping[str, Any],
) -> None:
    """Load ``state`` completely or say what does not fit."""
    wanted = network.state_dict()
    for key in ("head.weight", "head.fc.weight"):
        same_rank = key in wanted and key in state and state[key].ndim == wanted[key].ndim
        if same_rank and len(state[key]) != len(wanted[key]):
            raise InputError(
                f"{path}: {key} has {len(state[key])} classes, {name} has {len(wanted[key])}; "
                f"pass --num-classes {len(state[key])}"
            )
    problems = [
        *(f"{key} is missing" for key in wanted if key not in state),
        *(f"{key} is not part of the model" for key in state if key not in wanted),
        *(
            f"{key} has shape {tuple(state[key].shape)}, the model wants {tuple(tensor.shape)}"
            for key, tensor in wanted.items()
            if key in state and state[key].shape != tensor.shape
        ),
    ]
    if problems:
        built = f" with {typed(arguments)}" if arguments else ""
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" * (len(problems) > 5))
        raise InputError(
            f"{path}: is not a checkpoint of {name}{built}: {shown}; where the network differs "
            "from its name, say how: --model-kwargs img_size=… depths=…"
        )
    network.load_state_dict(state)


def _check_finite(network: nn.Module, origin: Path | str) -> None:
    for key, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"{origin}: {key} has {bad} values that are not finite (NaN or infinity); "
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
