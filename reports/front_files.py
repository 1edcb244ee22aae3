# SPDX-License-Identifier: Apache-2.0
"""A front as files: CSV and Parquet through pandas, JSON, Markdown.

CSV and Parquet have the columns of every table of runs behind those of the front. Figures are as
the records have them; JSON is written by the strict writer, since pandas rounds to 15 digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aocq.records.axes import AXES
from reports.alike import DIFFERENT_DATA, warnings
from reports.format import MISSING, NO_NOISE, plural
from reports.front import MISFIT, Front, figure, notes_on
from reports.markdown_text import code
from reports.rows import written_row
from simulator import strict_json
from simulator.files import replace_file, write_text

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = ("html", "csv", "json", "parquet", "md", "png", "svg")
PARQUET_MISSING = "front.parquet is left out: pip install 'aocq[parquet]' has what writes it"
_MARKDOWN_ROWS = 200  # of a table that somebody reads


def columns(front: Front) -> list[dict[str, Any]]:
    """Return the rows of a front's table, in its order: values by the names of columns."""
    rows = [design.row for design in front.designs]
    variants = list(dict.fromkeys(name for row in rows for name in row.variant))
    found = []
    for place in front.order:
        design, at, by = front.designs[place], front.set_of[place], front.beaten_by[place]
        plain = written_row(design.row, rows)
        variant = plain.pop("variant")
        placed = {
            "design": design.name,
            "comparable_set": None if at is None else front.sets[at].title,
            "rank": front.ranks[place],
            "beaten_by": None if by is None else front.designs[by].name,
            "misfit": design.misfit,
        }
        drop = {"drop": figure(design.row, "drop")} if "drop" in front.axes else {}
        own = {name: variant.get(name) for name in variants}
        # The table's own columns win over one of that name of a variant, in the place of the first.
        found.append({**placed, **own, **drop, **plain, **placed})
    return found


def frame(front: Front) -> pd.DataFrame:
    """Return the table as a frame whose columns may lack values and keep their types."""
    import pandas as pd

    rows = columns(front)
    names = list(rows[0]) if rows else []
    return pd.DataFrame({name: _column([row[name] for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> pd.Series[Any]:
    import pandas as pd

    kinds = {type(value) for value in values} - {type(None)}
    for kind, name in ((bool, "boolean"), (int, "Int64"), (str, "string")):
        if kinds == {kind}:
            return pd.Series(values, dtype=name)
    return pd.Series(values, dtype="Float64" if kinds <= {int, float} and kinds else "string")


def json_text(front: Front) -> str:
    """Return the front as JSON: axes, sets with their hypervolumes, and the rows of the table."""
    plain = {
        "title": front.title,
        "axes": [
            {"name": name, "title": AXES[name].title, "unit": AXES[name].unit}
            | {"better": "more" if AXES[name].most else "less"}
            for name in front.axes
        ],
        "sets": [
            {
                "title": found.title,
                "designs": len(found.members),
                "front": [front.designs[place].name for place in found.front],
                "hypervolume": found.volume,
                "share_of_box": found.share,
                "over": list(found.over),
                "best": _finite(found.best),
                "reference": _finite(found.reference),
            }
            for found in front.sets
        ],
        "notes": said_of(front),
        "rows": columns(front),
    }
    return strict_json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def _finite(figures: Any) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def said_of(front: Front) -> list[str]:
    """Return what must be said above a front: of its sets, and in what rows are not alike."""
    rows = [design.row for design in front.designs]
    told = len(front.sets) > 1 and any(AXES[name].of_images for name in front.axes)
    others = [text for text in warnings(rows) if not (told and text.startswith(DIFFERENT_DATA))]
    return [*notes_on(front), *others]


def written(value: float | None, axis: str) -> str:
    """Write a figure of an axis, without its unit."""
    if value is None:
        return MISSING
    if math.isinf(value):
        return NO_NOISE
    if AXES[axis].unit in ("bytes", "bits"):
        return f"{value:,.0f}"
    return f"{value:,.4g}" if AXES[axis].unit in ("ms", "mJ") else f"{value:.2f}"


def with_unit(value: float | None, axis: str) -> str:
    """Write a figure of an axis with its unit."""
    text = written(value, axis)
    return text if text in (MISSING, NO_NOISE) else f"{text} {AXES[axis].unit}".rstrip()


def volume_in_words(front: Front, at: int) -> str:
    """Return the hypervolume of a set in words, with what it is measured from."""
    found = front.sets[at]
    if found.volume is None or found.share is None:
        return f"no hypervolume: {found.why}"
    units = " · ".join(AXES[name].unit for name in found.over)
    ends = ", ".join(f"{name} {with_unit(found.reference[name], name)}" for name in found.over)
    return (
        f"hypervolume {found.volume:.6g} {units}, {100 * found.share:.1f} % of the box from the "
        f"best figure on each axis to the reference: {ends}"
    )


def markdown(front: Front) -> str:
    """Return the front as Markdown: what it is over, hypervolumes, the best ranks as a table."""
    heads = ["rank", "design", *front.axes, "beaten by"]
    lines = [heads, ["---:", "---", *["---:"] * len(front.axes), "---"]]
    for place in front.order[:_MARKDOWN_ROWS]:
        design, by = front.designs[place], front.beaten_by[place]
        rank = front.ranks[place]
        lines.append(
            [
                MISSING if rank is None else str(rank),
                code(design.name) + (MISFIT if design.misfit else ""),
                *(written(figure(design.row, name), name) for name in front.axes),
                "" if by is None else code(front.designs[by].name),
            ]
        )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    sets = [
        f"- {found.title + ': ' if found.title else ''}{len(found.front)} of "
        f"{plural(len(found.members), 'design')} on the front; {volume_in_words(front, at)}."
        for at, found in enumerate(front.sets)
    ]
    legend = "; ".join(
        f"{name}: {AXES[name].title}, {AXES[name].unit}, {'more' if AXES[name].most else 'less'} "
        f"is better{', ESTIMATED' if AXES[name].estimated else ''}"
        for name in front.axes
    )
    more = len(front.order) - _MARKDOWN_ROWS
    rest = [f"The other {plural(more, 'design')} are in front.csv."] if more > 0 else []
    parts = [f"# {front.title}", *said_of(front), "\n".join(sets), table, *rest, f"{legend}."]
    return "\n\n".join(filter(None, parts)) + "\n"


def write_tables(front: Front, folder: Path) -> bool:
    """Write front.csv, .json, .md and, where pyarrow is installed, .parquet; return whether it is.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    table = frame(front)
    write_text(folder / "front.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(folder / "front.json", json_text(front))
    write_text(folder / "front.md", markdown(front))
    if find_spec("pyarrow") is None:
        return False
    with replace_file(folder / "front.parquet") as temporary:
        table.to_parquet(temporary, index=False, engine="pyarrow")
    return True
