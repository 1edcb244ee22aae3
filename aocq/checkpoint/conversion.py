# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of other names and sizes, converted as timm converts them: by each family's filter.

timm keeps one ``checkpoint_filter_fn`` per module of models: old names, names of other projects
(OpenCLIP, DINOv2, BEiT-3), tables that need not be stored, and resampling to another size.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from timm.models import is_model, model_entrypoint
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Filter = Callable[..., Mapping[str, Any]]

# What timm's constructors hand to their filters: (part of module and model's name, options)
_OPTIONS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("timm.models.deit ", MappingProxyType({"adapt_layer_scale": True})),
    (" flexivit", MappingProxyType({"interpolation": "bilinear", "antialias": False})),
)
# What is resampled to another size, and by which arguments of the constructor that is asked for.
RESAMPLED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pos_embed": frozenset({"img_size", "patch_size"}),
        "patch_embed.proj.weight": frozenset({"patch_size"}),
        "relative_position_bias_table": frozenset({"img_size", "patch_size"}),
    }
)
SIDE = 64  # pixels of a patch; resampling it takes the fourth power of memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """Tensors under a network's names.

    Attributes
    ----------
    resampled
        names of tensors that were made for another size
    left_out
        names in the file of what the network has no use for
    """

    tensors: Mapping[str, Tensor]
    resampled: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def convert(
    tensors: Mapping[str, Tensor],
    network: nn.Module,
    name: str,
    arguments: Mapping[str, Any],
) -> Converted:
    """Return a checkpoint's tensors as timm would load them; unchanged where its filter fails.

    What timm would resample stays as it is, unless ``arguments`` of the constructor ask for a size.
    """
    apply = _filter(network, name)
    if apply is None or not _of_its_width(tensors, network.state_dict()):
        return Converted(tensors=tensors)
    computed = _Computed()
    try:
        with computed, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about how timm resamples
            found = apply(dict(tensors), network)
    except Exception:  # of a checkpoint of another network; comparing says what differs
        return Converted(tensors=tensors)
    if not all(isinstance(value, Tensor) for value in found.values()):
        return Converted(tensors=tensors)
    kept, resampled = dict(found), []
    stored = {_place(tensor) for tensor in tensors.values()}
    for key, tensor in found.items():
        if not key.endswith(tuple(RESAMPLED)) or _place(tensor) in stored:
            continue
        if _asked(key, network, arguments):
            resampled.append(key)
        elif key in tensors:
            kept[key] = tensors[key]
    used = {_place(tensor) for tensor in kept.values()} | computed.places
    left_out = [key for key, tensor in tensors.items() if _place(tensor) not in used]
    return Converted(tensors=kept, resampled=tuple(resampled), left_out=tuple(left_out))


def _asked(key: str, network: nn.Module, arguments: Mapping[str, Any]) -> bool:
    """Whether arguments of the constructor ask for another size of what ``key`` names."""
    by = next(by for end, by in RESAMPLED.items() if key.endswith(end))
    if key.endswith("relative_position_bias_table"):
        block = network.get_submodule(".".join(key.split(".")[:-2]))
        whole: Any = getattr(block, "input_resolution", None)
        window: Any = getattr(block, "window_size", None)
        if "window_size" in arguments:
            return True
        # A window of its own, as Swin's: images change it only where they are no larger.
        if whole is not None and not any(a == b for a, b in zip(whole, window, strict=True)):
            return False
    return bool(by & set(arguments))


def _filter(network: nn.Module, name: str) -> Filter | None:
    """Return timm's filter of a model; of its class where the model's module has none."""
    base = name.partition(".")[0]
    modules = [type(network).__module__]
    if is_model(base):
        modules.insert(0, model_entrypoint(base).__module__)
    for module in modules:
        found: Filter | None = getattr(sys.modules.get(module), "checkpoint_filter_fn", None)
        if found is not None:
            options: dict[str, Any] = {}
            for part, more in _OPTIONS:
                options |= more if part in f"{module} {base}" else {}
            applied = found
            return lambda state, network: applied(state, network, **options)
    return None


def _of_its_width(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    """Whether what may be resampled is only of another size, as far as its name tells.

    timm goes through tables head by head: thousands of them are no other size, and take minutes.
    """
    for key, tensor in tensors.items():
        if key.endswith("patch_embed.proj.weight") and max(tensor.shape[2:], default=0) > SIDE:
            return False
        if key.endswith(("pos_embed", "relative_position_bias_table")) and key in wanted:
            own = wanted[key]
            if tensor.ndim != own.ndim or tensor.shape[-1] != own.shape[-1]:
                return False
            if tensor.numel() > SIDE**2 * own.numel():
                return False
    return True


def _place(tensor: Tensor) -> int:
    """Return where a tensor's values are; views of it are at the same place."""
    if tensor.is_meta or not tensor.numel():
        return id(tensor)
    return tensor.untyped_storage().data_ptr()


class _Computed(TorchFunctionMode):
    """Notes what torch's functions are applied to; reading a tensor's shape is not one."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") != "__get__":
            given = [*args, *(kwargs or {}).values()]
            inner = [item for part in given if isinstance(part, (list, tuple)) for item in part]
            read = (item for item in (*given, *inner) if isinstance(item, Tensor))
            self.places |= {_place(item) for item in read}
        return func(*args, **(kwargs or {}))
