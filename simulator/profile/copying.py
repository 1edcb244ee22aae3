# SPDX-License-Identifier: Apache-2.0
"""A new profile from the text of another: same comments and layout, nothing of it known yet."""

from __future__ import annotations

import re
import tomllib

from simulator.errors import InputError

# A string in TOML, of one line or of several, in either kind of quotes.
_STRING = r'"""(?s:.*?)"""|\'\'\'(?s:.*?)\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
_KEY = r'(?:[A-Za-z0-9_-]+|"[^"\n]*"|\'[^\'\n]*\')'
_SOURCES = re.compile(r"^\[source\](?s:.*?)(?=^\[|\Z)", re.MULTILINE)
_SOURCE = re.compile(rf"^({_KEY}\s*=\s*)(?:{_STRING})", re.MULTILINE)


def copied(text: str, name: str, neighbour: str) -> str:
    """Return the text of profile ``neighbour`` under another name, all its values assumed.

    Parameters
    ----------
    text
        a profile that loads
    name
        of the new profile

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
    before, after = tomllib.loads(text), tomllib.loads(changed)
    wanted = {
        **before,
        "name": name,
        "title": f"{name}, begun as {neighbour}",
        "source": dict.fromkeys(before["source"], assumed),
    }
    if after != wanted:
        raise InputError(
            f"profile {neighbour}: its name, title and table [source] are not written as in the "
            "shipped profiles, one key per line; copy the file and change it by hand"
        )
    return changed
