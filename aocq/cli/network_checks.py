# SPDX-License-Identifier: Apache-2.0
"""Early checks of what names a network: its name, its weights, how many classes it tells apart.

timm's names are known from a list (:mod:`aocq.zoo.published`). Where there is none of the timm that
is installed, names are judged when timm is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Parameters = Mapping[str, Any]


def name(text: str, parameters: Parameters) -> None:
    """Check that timm has a network of this name; its weights are not asked for."""
    from aocq.zoo.published import check_name, networks_at_hand

    del parameters
    known = networks_at_hand()
    if known is not None:
        check_name(text, known)


def pretrained_or_weights(text: str, parameters: Parameters) -> None:
    """Check a name and, where no file of weights is given, that timm has some that fit."""
    from aocq.zoo.published import check_weights, networks_at_hand, published

    name(text, parameters)
    known = networks_at_hand()
    if known is not None and "weights" in parameters and parameters["weights"] is None:
        check_weights(text, parameters.get("classes"), published(text, known), known.version)


def named_with_weights(texts: str | Sequence[str], parameters: Parameters) -> None:
    """Check each ``MODEL`` or ``MODEL=WEIGHTS``; weights only where images are given, too."""
    for text, path in _named(texts):
        if path is not None and parameters.get("data") is not None:
            weights(path, parameters)
        name(text, parameters)


def weights(path: Path, parameters: Parameters) -> None:
    """Check that there is a file of weights."""
    from simulator.errors import InputError

    del parameters
    if not path.is_file():
        what = "is no file" if path.exists() else "no such file"
        raise InputError(f"{path}: {what}; --weights wants a .safetensors or .pth file")


def classes(parameters: Parameters) -> int | None:
    """Return how many classes the images' folders are of, None where that is not known yet.

    It is what --num-classes says, or what all networks of the command have by their names.
    """
    from aocq.zoo.published import networks_at_hand, published

    given: int | None = parameters.get("classes")
    named: str | Sequence[str] | None = parameters.get("model") or parameters.get("models")
    if given or not named:
        return given
    known = networks_at_hand()
    if known is None:
        return None
    found = [published(text, known) for text, _ in _named(named)]
    counts = {None if each is None else each.classes or None for each in found}
    return counts.pop() if len(counts) == 1 else None


def _named(texts: str | Sequence[str]) -> list[tuple[str, Path | None]]:
    from aocq.cli.sweeps import parse_model

    return [parse_model(text) for text in ([texts] if isinstance(texts, str) else texts)]
