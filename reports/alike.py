# SPDX-License-Identifier: Apache-2.0
"""What rows of a table are of: columns in which they differ, values in common, and warnings.

A column of network or data is shown where rows differ in it; a common value is said once, above the
table. Rows of different networks, weights or images stand in one table, but never silently:
:func:`warnings` says what is different.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.format import MISSING, classes, count, plural
from reports.rows import TableRow, judgings, processes

# Of the network; of the images that a run was judged on. In the order of the columns.
BUILT_WITH, WEIGHTS = "built with", "weights"
NETWORK_COLUMNS = (BUILT_WITH, WEIGHTS)
# Of activations, where W/A does not say it all.
WIDTHS = "widths"
CLASSES = "classes"
DATA_COLUMNS = ("data", CLASSES, "images")
SCORE = "score"  # of runs of different tasks
# The beginnings of the warnings.
DIFFERENT_DATA = "These runs were judged on different images"
DIFFERENT_NETWORKS = "These rows are of different networks"
DIFFERENT_PROCESSES = "These energies are of different processes"
DIFFERENT_SCORES = "These runs are judged by different scores"
DIFFERENT_WEIGHTS = "These runs of one network have different weights"
UNKNOWN_DATA = "not known on which images"
_NAMED = 4  # networks or sets of images in a sentence
_DIGITS = 8  # of a sha256


def apart(rows: Sequence[TableRow], columns: Sequence[str]) -> list[str]:
    """Return those of the columns of this module in which rows differ.

    Weights are told apart only where rows of the same network have different ones.
    """
    differing = [name for name in columns if len(_values(rows, name)) > 1]
    if WEIGHTS in differing and not _reweighted(rows):
        differing.remove(WEIGHTS)
    return differing


def alike(rows: Sequence[TableRow]) -> dict[str, str]:
    """Return the values of network and data that all rows have in common, by column."""
    found = {}
    for name in (BUILT_WITH, WIDTHS, *DATA_COLUMNS):
        values = _values(rows, name)
        if len(values) == 1 and not values & {"", MISSING}:
            found[name] = values.pop()
    return found


def cells(row: TableRow, rows: Sequence[TableRow]) -> dict[str, str]:
    """Return the cells of these columns, for a row among others.

    Data of one name that are not the same images have the start of their digest beside it.
    """
    digests = {other.data_digest for other in rows if other.data == row.data and _ran(other)}
    digest = f" {row.data_digest[:_DIGITS]}" if len(digests) > 1 else ""
    return {
        BUILT_WITH: row.arguments,
        WIDTHS: row.widths,
        WEIGHTS: row.checkpoint[:_DIGITS] or MISSING,
        SCORE: row.judged_by.score.title,
        "data": f"{row.data}{digest}" or MISSING,
        CLASSES: MISSING if row.classes is None else count(row.classes),
        "images": MISSING if row.images is None else count(row.images),
    }


def network(row: TableRow) -> str:
    """Return a row's network and, in brackets, what it is built with beside its name."""
    return f"{row.model} ({row.arguments})" if row.arguments else row.model


def judged_on(row: TableRow) -> str:
    """Return the images that a row's run was judged on: ``400 images of val, 10 classes``."""
    number = plural(row.images or 0, "image")
    if not row.data:
        return number
    of = f"{number} of {row.data}"
    return of if row.classes is None else f"{of}, {classes(row.classes)}"


def groups_of_data(rows: Sequence[TableRow]) -> list[list[int]]:
    """Return the places of rows that were judged on the same images, in order of appearance.

    Accuracies can be compared within a group. Older records do not say on which images: those of as
    many are a group.
    """
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if _ran(row):
            groups.setdefault(row.data_digest or count(row.images or 0), []).append(place)
    return list(groups.values())


def warnings(rows: Sequence[TableRow]) -> list[str]:
    """Return what must be said above a table: in what its rows are not alike, a sentence each.

    Nothing where all rows are of one network with the same weights, judged on the same images by
    the same score, and energies are of one process.
    """
    found = [
        _of_data(rows),
        _of_scores(rows),
        _of_networks(rows),
        _of_weights(rows),
        _of_energies(rows),
    ]
    return [warning for warning in found if warning]


def _of_data(rows: Sequence[TableRow]) -> str:
    groups = [[rows[place] for place in group] for group in groups_of_data(rows)]
    known = [members for members in groups if members[0].data_digest]
    unknown = sum(len(members) for members in groups if not members[0].data_digest)
    found = ""
    if len(known) > 1:
        digests = len({judged_on(members[0]) for members in known}) < len(known)
        sets = [
            judged_on(members[0]) + f" (sha256 {members[0].data_digest[:_DIGITS]}…)" * digests
            for members in known
        ]
        found = (
            f"{DIFFERENT_DATA}: {_listed(sets)}. Their accuracies cannot be compared with each "
            "other; run them on the same --data with the same --limit."
        )
    if unknown and known:
        of = f"{count(unknown)} of {count(sum(map(len, groups)))} runs"
        found += f"{' ' * bool(found)}Of {of} it is {UNKNOWN_DATA}: their records are older."
    return found


def _of_scores(rows: Sequence[TableRow]) -> str:
    titles = [each.score.title for each in judgings(rows)]
    return f"{DIFFERENT_SCORES}: {_listed(titles)}." if len(titles) > 1 else ""


def _of_energies(rows: Sequence[TableRow]) -> str:
    found = processes(rows)
    if len(found) < 2:
        return ""
    named = _listed(found)
    return f"{DIFFERENT_PROCESSES}: {named}. What separates two of them is not the chip alone."


def _of_networks(rows: Sequence[TableRow]) -> str:
    networks = list(dict.fromkeys(map(network, rows)))
    if len(networks) < 2:
        return ""
    return (
        f"{DIFFERENT_NETWORKS}: {_listed(networks)}. What separates rows of two networks is not "
        "method, widths or chip alone."
    )


def _of_weights(rows: Sequence[TableRow]) -> str:
    of = [f"{name}: sha256 {_listed(sorted(found))}" for name, found in _reweighted(rows).items()]
    return f"{DIFFERENT_WEIGHTS}, {'; '.join(of)}." if of else ""


def _reweighted(rows: Sequence[TableRow]) -> dict[str, set[str]]:
    """Return the networks of which rows have different weights, and these by their digests."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if _ran(row):
            weights = f"{row.checkpoint[:_DIGITS]}…" if row.checkpoint else "not known"
            found.setdefault(network(row), set()).add(weights)
    return {name: weights for name, weights in found.items() if len(weights) > 1}


def _listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: ``a; b``, of many the first ones."""
    more = len(names) - _NAMED
    shown = names if more <= 0 else names[:_NAMED]
    return "; ".join(shown) + (f"; and {count(more)} more" if more > 0 else "")


def _ran(row: TableRow) -> bool:
    return row.images is not None


def _values(rows: Sequence[TableRow], name: str) -> set[str]:
    """Return the values of a column; those of weights and data are values of runs only.

    Classes may be told of a network without a run too.
    """
    those = [
        row
        for row in rows
        if _ran(row) or name == BUILT_WITH or (name == CLASSES and row.classes is not None)
    ]
    return {cells(row, rows)[name] for row in those}
