# SPDX-License-Identifier: Apache-2.0
"""The networks that timm has, by name, known without importing it: that takes seconds, with torch.

timm's registry is the source. What is read of it once is a list, which comes with the package for
one version of timm (``timm_networks.json``, written by ``python -m aocq.zoo.published``) and is
kept in the cache folder for another, as soon as a command has imported that. A list is only taken
for the very timm that it was read of: of the same version, with files of the same names and sizes.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from simulator.errors import InputError

PACKAGED = Path(__file__).with_name("timm_networks.json")
LARGEST = 1 << 24  # bytes of a list that is read: timm's takes 1/100 of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What timm publishes under a tag: classes of the network (0: features), and whether weights.

    timm also has entries without any, which say how images are preprocessed.
    """

    classes: int
    available: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TimmNetworks:
    """timm's networks, in its own order.

    Attributes
    ----------
    version
        of timm
    modules
        name of a network to its module of ``timm.models``; timm's own tests' networks, too
    tags
        name of a network to what is published by tag, the usual tag first
    deprecated
        former names, which timm still builds
    """

    version: str
    modules: Mapping[str, str]
    tags: Mapping[str, Mapping[str, Weights]]
    deprecated: frozenset[str]

    def of_module(self, module: str) -> list[str]:
        """Return the networks of a module of ``timm.models``."""
        return [name for name, known in self.modules.items() if known == module]


def check_name(name: str, known: TimmNetworks) -> None:
    """Raise InputError where timm has no such network, or no such tag of its weights."""
    base, _, tag = name.partition(".")
    if base not in known.modules and base not in known.deprecated:
        raise InputError(unknown_name(name, known.version, known.modules))
    tags = known.tags.get(base, {})
    if tag and tags and tag not in tags:
        raise InputError(unknown_tag(name, known.version, tags))


def unknown_name(name: str, timm_version: str, names: Iterable[str]) -> str:
    """Return what to say of a name that timm does not have."""
    near = difflib.get_close_matches(name.partition(".")[0], [*names], n=4, cutoff=0.5)
    advice = f"nearest: {', '.join(near)}" if near else "`aocq models` lists them"
    return f"model {name}: timm {timm_version} has no such model; {advice}"


def unknown_tag(name: str, timm_version: str, tags: Iterable[str]) -> str:
    """Return what to say of a tag that none of a network's published weights have."""
    base, _, tag = name.partition(".")
    there = ", ".join(f"{base}.{known}" for known in sorted(tags))
    return f"model {name}: no weights with the tag {tag}; timm {timm_version} has {there}"


def published(name: str, known: TimmNetworks) -> Weights | None:
    """Return what is published under a name that :func:`check_name` lets through, if anything."""
    base, _, tag = name.partition(".")
    tags = known.tags.get(base, {})
    return tags.get(tag) if tag else next(iter(tags.values()), None)


def check_weights(name: str, classes: int | None, found: Weights | None, timm_version: str) -> None:
    """Check that timm's pretrained weights can be taken for a network.

    Parameters
    ----------
    classes
        that are asked for; None: as many as the weights have
    found
        what timm publishes under the name

    Raises
    ------
    InputError
        If there are none, or of another class count.
    """
    if found is None or not found.available:
        raise InputError(
            f"model {name}: timm {timm_version} has no pretrained weights of it; pass "
            "--weights FILE (.safetensors or .pth)"
        )
    if classes is not None and classes != found.classes:
        raise InputError(
            f"model {name}: its pretrained weights have {found.classes} classes, not {classes}; "
            f"pass --weights FILE of a network with {classes}"
        )


# --- lists ----------------------------------------------------------------------------------------


@cache
def networks_at_hand() -> TimmNetworks | None:
    """Return timm's networks without importing timm; None where there is no list of this timm."""
    state = _installed()
    if state is None:
        return None
    kept = _kept_place(state)
    for path in (PACKAGED, *([] if kept is None else [kept])):
        found = _read(path, state)
        if found is not None:
            return found
    return None


def networks() -> TimmNetworks:
    """Return timm's networks: from a list, or from timm, which is then imported."""
    return networks_at_hand() or _kept_for_later(networks_of_timm())


def keep_for_later() -> None:
    """See that the next command has a list; called where timm was imported anyway."""
    if networks_at_hand() is None:
        with suppress(Exception):  # a convenience; what ``timm`` lacks, others say
            _kept_for_later(networks_of_timm())


def networks_of_timm() -> TimmNetworks:
    """Read timm's registry, with the demo networks."""
    from aocq.zoo.torchvision_compat import declare_missing_operators

    declare_missing_operators()  # must come before timm, whose import may fail without it
    import timm
    from timm.models import _registry as registry
    from timm.models import get_pretrained_cfg

    import aocq.demo.dense_model  # (registers the demo's networks)
    import aocq.demo.model  # noqa: F401

    names = timm.list_models()
    tags: dict[str, dict[str, Weights]] = {name: {} for name in names}
    for tagged in timm.list_models(include_tags=True):
        base, _, tag = tagged.partition(".")
        config = get_pretrained_cfg(tagged)
        if config is not None:
            tags[base][tag] = weights_of(config)
    of_module = {
        name: module
        for module in timm.models.list_modules()
        for name in timm.list_models(module=module)
    }
    return TimmNetworks(
        version=timm.__version__,
        modules={name: of_module[name] for name in names},
        tags={name: _usual_first(found, get_pretrained_cfg(name)) for name, found in tags.items()},
        deprecated=frozenset(registry._deprecated_models),
    )


def weights_of(config: Any) -> Weights:
    """Return what a ``PretrainedCfg`` of timm says of its weights."""
    return Weights(classes=config.num_classes or 0, available=bool(config.has_weights))


def _usual_first(found: Mapping[str, Weights], usual: Any) -> dict[str, Weights]:
    first = "" if usual is None else usual.tag or ""
    return {tag: found[tag] for tag in sorted(found, key=lambda tag: tag != first)}


def _installed() -> dict[str, str] | None:
    """Return which timm is installed, without importing it; None where none is."""
    try:
        spec = find_spec("timm")
        places = (spec.submodule_search_locations if spec else None) or []
        folder = Path(places[0]) / "models"
        files = sorted((path.name, path.stat().st_size) for path in folder.glob("*.py"))
        return {"timm": version("timm"), "files": hashlib.sha256(repr(files).encode()).hexdigest()}
    except (ImportError, IndexError, OSError, PackageNotFoundError):
        return None


def _kept_place(state: Mapping[str, str]) -> Path | None:
    from simulator.config import cache_folder

    folder = cache_folder()
    name = hashlib.sha256(json.dumps(dict(state)).encode()).hexdigest()[:16]
    return None if folder is None else folder / "timm" / f"{name}.json"


def _kept_for_later(known: TimmNetworks) -> TimmNetworks:
    """Keep a list in the cache folder, where that can be; return it."""
    from simulator.files import write_text

    state = _installed()
    place = None if state is None else _kept_place(state)
    if state is not None and place is not None:
        with suppress(InputError, OSError):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_text(place, _text(known, state))
    return known


def _text(known: TimmNetworks, state: Mapping[str, str]) -> str:
    """Return a list as JSON, a network on a line."""
    lines = [
        f"{json.dumps(name)}: "
        + json.dumps(
            [
                module,
                {tag: [found.classes, found.available] for tag, found in known.tags[name].items()},
            ]
        )
        for name, module in known.modules.items()
    ]
    head = json.dumps({**state, "deprecated": sorted(known.deprecated)})[:-1]
    return f'{head}, "networks": {{\n' + ",\n".join(lines) + "\n}}\n"


def _read(path: Path, state: Mapping[str, str]) -> TimmNetworks | None:
    """Return the list in a file; None where it is missing, damaged, or of another timm."""
    from simulator.reading import read_bytes

    try:
        found = json.loads(read_bytes(path, LARGEST))
        if {key: found[key] for key in state} != state:
            return None
        return TimmNetworks(
            version=state["timm"],
            modules={name: str(module) for name, (module, _) in found["networks"].items()},
            tags={
                name: {
                    tag: Weights(classes=int(classes), available=bool(available))
                    for tag, (classes, available) in tags.items()
                }
                for name, (_, tags) in found["networks"].items()
            },
            deprecated=frozenset(found["deprecated"]),
        )
    except (AttributeError, InputError, KeyError, OSError, TypeError, ValueError):
        return None


def main() -> None:
    """Write the list of the installed timm into the package."""
    from simulator.files import write_text

    state = _installed()
    assert state is not None, "timm is not installed"
    write_text(PACKAGED, _text(networks_of_timm(), state))


if __name__ == "__main__":
    main()
