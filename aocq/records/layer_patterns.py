# SPDX-License-Identifier: Apache-2.0
"""Patterns on the names of operations, as rules for single layers have them; which one wins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

_WILDCARD = re.compile(r"\[!?\]?[^\]]*\]|[*?]")


def meets(pattern: str, name: str) -> bool:
    """Return whether a pattern matches an operation's name, or one that it is below."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def specificity(pattern: str, name: str) -> tuple[bool, int]:
    """Return how closely a pattern tells a name: the whole name first, then by literal characters.

    Of two patterns that meet a name, the greater wins.
    """
    return pattern == name, len(_WILDCARD.sub("", pattern))


def most_specific(patterns: Iterable[str], name: str) -> list[str]:
    """Return, of the patterns that meet a name, those that none is more specific than."""
    ranked = [(specificity(each, name), each) for each in patterns if meets(each, name)]
    return [pattern for rank, pattern in ranked if rank == max(ranked)[0]]
