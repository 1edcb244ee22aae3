# SPDX-License-Identifier: Apache-2.0
"""A new profile from the text of another: same comments and layout, nothing of it known yet."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from simulator.errors import InputError

# A string in TOML, of one line or of several, in either kind of quotes.
_STRING = r'"""(?s:.*?)"""|\'\'\'(?s:.*?)\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
_KEY = r'(?:[A-Za-z0-9_-]+|"[^"\n]*"|\'[^\'\n]*\')'
_NONE: Mapping[tuple[str, str], tuple[str, str]] = MappingProxyType({})
_SOURCES = re.compile(r"^\[source\](?s:.*?)(?=^\[|\Z)", re.MULTILINE)
_SOURCE = re.compile(rf"^({_KEY}\s*=\s*)(?:{_STRING})", re.MULTILINE)


def copied(
    text: str, name: str, neighbour: str, files: Mapping[tuple[str, str], tuple[str, str]] = _NONE
) -> str:
    """Return the text of profile ``neighbour`` under another name, all its values assumed.

    Parameters
    ----------
    text
        a profile that loads
    name
        of the new profile
    files
        of every table that names a file (section and key): its path, and that from the new place

    Raises
    ------
    InputError
        If ``name``, ``title`` or ``[source]`` are not written as the shipped profiles write them,
        so that the text cannot be changed piece by piece.
    """
    assumed = f"assumed: taken from {neighbour}"
    changed = _SOURCES.sub(lambda table: _SOURCE.sub(rf'\1"{assumed}"', table[0]), text, count=1)
    for key, value in (("name", name), ("title", f"{name}, begun as {neighbour}")):
        pattern = re.compile(rf"^({key}\s*=\s*)(?:{_STRING})", re.MULTILINE)
        changed = pattern.sub(rf'\1"{value}"', changed, count=1)
    changed = (
        f"# {name}: begun as a copy of {neighbour}, which is what the comments below speak of.\n"
        f"{changed}"
    )
    for old, new in set(files.values()):
        named = re.compile(rf"(\bfile\s*=\s*)(\"|'){re.escape(old)}\2")
        changed = named.sub(partial(_named, path=new), changed)
    before, after = tomllib.loads(text), tomllib.loads(changed)
    for (section, key), (_, new) in files.items():
        before[section][key]["file"] = new
    wanted = {
        **before,
        "name": name,
        "title": f"{name}, begun as {neighbour}",
        "source": dict.fromkeys(before["source"], assumed),
    }
    if after != wanted:
        raise InputError(
            f"profile {neighbour}: its name, title and table [source] (and its files) are not "
            "written as in the shipped profiles, one key per line; copy the file and change it by "
            "hand"
        )
    return changed


def _named(found: re.Match[str], path: str) -> str:
    return f'{found[1]}"{path}"'
