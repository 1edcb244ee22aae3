# SPDX-License-Identifier: Apache-2.0
"""The section of a run's page that shows images with boxes, or with classes of patches."""

from __future__ import annotations

from markupsafe import Markup

from aocq.records.shown_images import ShownImage, ShownImages
from reports import boxes, class_maps
from reports.format import plural


def drawn(shown: ShownImages) -> list[tuple[ShownImage, Markup]]:
    """Return each image and its figure; texts of the record are escaped in it already."""
    return [
        (image, Markup(_figure(image, f"picture-{number}")))
        for number, image in enumerate(shown.images, start=1)
    ]


def _figure(image: ShownImage, name: str) -> str:
    if image.true_classes:
        return class_maps.figure_of(image, name)
    return boxes.figure_of(image, name)


def chosen_sentence(shown: ShownImages) -> str:
    """Return how the images were chosen."""
    different = sum(image.differs for image in shown.images)
    spread = len(shown.images) - different
    text = f"{plural(spread, 'image')} spread evenly over all {shown.among}"
    if different:
        text += f", then {different} of the others, in which the two networks differ most"
    return f"{text}."
