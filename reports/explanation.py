# SPDX-License-Identifier: Apache-2.0
"""One image through a run's networks as an HTML page that needs nothing beside itself."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from aocq.records.explanation import BlockErrors, ClassScore, Events, Explanation, TokenCounts
from aocq.records.layers import LayerRow
from reports import class_colors, palette
from reports.box_labels import listed, numbered
from reports.boxes import figure_of
from reports.figures import sqnr_along_depth
from reports.format import NO_NOISE, decibel, percent, plural, signed
from reports.ops import Measured, steepest_fall
from reports.templating import inline, template
from reports.token_maps import held_picture, plain_picture, token_map

ERROR, SATURATED, OVERFLOWED = palette.ORANGE[0], palette.PURPLE[0], palette.RED[0]
ENGINES = {"float": "Float", "simulated": "Fake-quantized", "integer": "Integer"}


def html(found: Explanation) -> str:
    """Return the page of one image."""
    boxes = None
    if not found.answers:
        boxes = inline(figure_of(found.picture, "boxes", class_colors.of_names([found.picture])))
    return template("explain.html.j2").render(
        found=found,
        heading=heading(found),
        facts=facts(found),
        engines=ENGINES,
        boxes=boxes,
        held=held_picture(found.picture),
        numbered=numbered,
        title_of=_class,
        depth=inline(sqnr_along_depth(found.ops)),
        picture=plain_picture(found.picture),
        blocks=[(block, _error_map(found, block)) for block in found.blocks],
        saturated=_event_maps(found, found.saturated, SATURATED, "saturated results"),
        overflowed=_event_maps(found, found.overflowed, OVERFLOWED, "overflowed sums"),
        events_in_words=events_in_words,
    )


def heading(found: Explanation) -> str:
    """Return the title of the page."""
    return f"{found.picture.name}: {found.network}, {found.quantized}, float beside integer"


def facts(found: Explanation) -> list[tuple[str, str]]:
    """Return what a reader asks first, and the answers."""
    fall = steepest_fall(found.ops)
    rows = {row.op: row for row in found.ops}
    first = found.first_difference
    told = [
        *([_classes_told(found)] if found.answers else [_boxes_told(found)]),
        ("SQNR of the output", decibel(found.logit_sqnr_db, NO_NOISE)),
        (
            "First op with other codes than fake quantization, on equal inputs",
            "none: all codes are the same" if first is None else _parted(rows[first]),
        ),
        ("Steepest fall of SQNR against float", "none" if fall is None else _fell(fall)),
    ]
    if found.blocks:
        told.append(("Token furthest from float", worst_token(found.blocks[-1])))
    told.append(("Saturated results", events_in_words(found.saturated)))
    told.append(("Sums that did not fit their register", events_in_words(found.overflowed)))
    return told


def plain(found: Explanation) -> dict[str, Any]:
    """Return the record as JSON has it, with the op at which SQNR falls most."""
    fall = steepest_fall(found.ops)
    steepest = None
    if fall is not None:
        steepest = {"op": fall.row.op, "sqnr_db": fall.sqnr_db, "change_db": fall.change}
    return {**found.model_dump(mode="json"), "steepest_fall": steepest}


def worst_token(block: BlockErrors) -> str:
    """Return the patch with the largest error behind a block, and the error of all."""
    errors = block.errors[block.grid.prefix :]
    place = max(range(len(errors)), key=errors.__getitem__)
    row, column = divmod(place, block.grid.columns)
    mean = sum(errors) / len(errors)
    return (
        f"{block.tensor}, row {row + 1}, column {column + 1}: {errors[place]:.3f} of a token's "
        f"norm; all patches {mean:.3f} on average"
    )


def events_in_words(events: Events) -> str:
    """Return how many events there were, and in which ops."""
    counts = {**events.placed}
    for name, number in events.elsewhere.items():
        counts[name] = counts.get(name, 0) + number
    if not counts:
        return "none"
    worst = max(counts, key=lambda name: counts[name])
    away = sum(events.elsewhere.values())
    told = f"{sum(counts.values()):,} in {plural(len(counts), 'op')}, most in {worst}"
    return f"{told} ({counts[worst]:,})" + (f"; {away:,} not on a token" if away else "")


def _classes_told(found: Explanation) -> tuple[str, str]:
    best = {each.engine: each.classes[0] for each in found.answers}
    real, integer = best["float"], best["integer"]
    if real.number == integer.number:
        told = f"{_class(integer)}, as the float network does ({percent(100 * real.share)})"
    else:
        told = f"{_class(integer)}; the float network {_class(real)}"
    return "The integer network finds", told


def _boxes_told(found: Explanation) -> tuple[str, str]:
    image = found.picture
    told = f"{listed(image.integer_boxes)}; the float network {listed(image.float_boxes)}"
    return "The integer network finds", told


def _class(score: ClassScore) -> str:
    share = percent(100 * score.share)
    return f"class {score.title}, {share}" + (" of the patches" if score.logit is None else "")


def _parted(row: LayerRow) -> str:
    return f"{row.op}: {plural(int(row.differing_codes or 0), 'code')} of {row.elements:,}"


def _fell(fall: Measured) -> str:
    return f"{fall.row.op}: {decibel(fall.sqnr_db)}, {signed(fall.change)} dB from the op before it"


def _error_map(found: Explanation, block: BlockErrors) -> Markup:
    name = f"error of tokens of {block.tensor}"
    return token_map(found.picture, block.grid, block.errors, ERROR, name)


def _event_maps(
    found: Explanation, events: Events, color: str, name: str
) -> list[tuple[TokenCounts, Markup]]:
    return [
        (each, token_map(found.picture, each.grid, each.counts, color, name, ",d"))
        for each in events.tokens
    ]
