# SPDX-License-Identifier: Apache-2.0
"""Chips of a plan: its profiles, each with every combination of the values that their keys take."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from aocq.sweeps.plan import Plan
from simulator import strict_json
from simulator.errors import InputError
from simulator.files import write_text
from simulator.profile import NpuProfile, load_profile
from simulator.profile.variation import UnknownKeyError, toml_text, varied

PROFILES = "profiles"  # folder of a sweep's own, with the varied ones
LONGEST_NAME = 100  # of a profile


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileVariant:
    """A chip of a sweep.

    Attributes
    ----------
    base
        the name of the profile that the plan names
    settings
        of its keys that the plan varies: value by key, as texts
    path
        its name or file; of a varied one where :meth:`write` puts it
    profile
        with these values; None where there can be no such chip, or a design asks for widths that
        it lacks
    reason
        why there can be none
    """

    base: str
    settings: Mapping[str, str]
    path: str
    profile: NpuProfile | None = None
    reason: str = ""

    def write(self) -> None:
        """Write the file of a varied profile, if it is not there.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        if self.profile is None or not self.settings:
            return
        path, text = Path(self.path), toml_text(self.profile)
        if not (path.exists() and path.read_text(encoding="utf-8") == text):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)


def profile_variants(plan: Plan, out: Path, refuse: Callable[[str], None]) -> list[ProfileVariant]:
    """Return every chip of a plan: its profiles, each with every combination of its keys' values.

    ``refuse`` gets every mistake with its place in the plan: a profile that cannot be read or has
    no such key, or two chips that would be one file. Chips of the others are returned.
    """
    keys = plan.sweep.keys
    written: dict[str, NpuProfile] = {}
    found: list[ProfileVariant] = []
    for place, path in enumerate(plan.sweep.profiles):
        try:
            profile = load_profile(path)
        except InputError as error:
            refuse(f"sweep.profiles[{place}]: {error}")
            continue
        if not keys:
            found.append(ProfileVariant(base=profile.name, settings={}, profile=profile, path=path))
            continue
        for values in product(*keys.values()):
            try:
                variant = _variant(profile, dict(zip(keys, values, strict=True)), out)
            except UnknownKeyError as error:
                refuse(f"sweep.keys: {error}")
                break  # other values have the same keys
            chip = variant.profile
            if chip is not None and written.setdefault(variant.path, chip) != chip:
                refuse(
                    f"sweep.profiles: two chips would be written as {variant.path}; give {path} a "
                    "name of its own (its key name), or leave one out"
                )
                break
            found.append(variant)
    return found


def _variant(profile: NpuProfile, changes: Mapping[str, Any], out: Path) -> ProfileVariant:
    """Return a chip with other values, or why there can be none."""
    name = varied_name(profile.name, changes)
    plain = ProfileVariant(
        base=profile.name,
        settings={key: _text(value) for key, value in changes.items()},
        path=str(out / PROFILES / f"{name}.toml"),
    )
    try:
        return replace(plain, profile=varied(profile, name, changes))
    except UnknownKeyError:
        raise
    except InputError as error:
        return replace(plain, reason=str(error))


def varied_name(base: str, changes: Mapping[str, Any]) -> str:
    """Return the name of a varied profile: its base, and the last part of each key with its value.

    A long one is cut, with a digest of the whole.
    """
    texts = [f"{key.rpartition('.')[2]}{_text(value)}" for key, value in changes.items()]
    whole = re.sub(r"[^a-z0-9_]+", "_", "_".join([base, *texts]).lower()).strip("_")
    if len(whole) <= LONGEST_NAME:
        return whole
    digest = hashlib.sha256(repr((base, dict(changes))).encode()).hexdigest()[:8]
    return f"{whole[: LONGEST_NAME - 9]}_{digest}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else strict_json.dumps(value)
