# SPDX-License-Identifier: Apache-2.0
"""The section of a run's page that shows images with boxes, or with classes of patches."""

from __future__ import annotations

from markupsafe import Markup

from aocq.records.shown_images import ShownImage, ShownImages
from reports import boxes, class_colors, class_maps
from reports.format import plural


def drawn(shown: ShownImages) -> list[tuple[ShownImage, Markup]]:
    """Return each image and its figure; texts of the record are escaped in it already."""
    of_boxes, of_patches = class_colors.of_names(shown.images), colors_of_patches(shown)

    def figure(image: ShownImage, name: str) -> str:
        if image.true_classes:
            return class_maps.figure_of(image, name, of_patches)
        return boxes.figure_of(image, name, of_boxes)

    return [
        (image, Markup(figure(image, f"picture-{number}")))
        for number, image in enumerate(shown.images, start=1)
    ]


def colors_of_patches(shown: ShownImages) -> dict[int, str]:
    """Return the color of each class of patches, the same in all pictures."""
    return class_colors.of_numbers(shown.images)


def chosen_sentence(shown: ShownImages) -> str:
    """Return how the images were chosen."""
    different = sum(image.differs for image in shown.images)
    spread = len(shown.images) - different
    text = f"{plural(spread, 'image')} spread evenly over all {shown.among}"
    if different:
        text += f", then {different} of the others, in which the two networks differ most"
    return f"{text}."
