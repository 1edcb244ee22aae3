# SPDX-License-Identifier: Apache-2.0
"""Class activation maps of a float and a quantized network beside each other, as figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Annotated

from pydantic import Field

from aocq.records.fields import Count, Name, Record

Correlation = Annotated[float, Field(ge=-1.0000001, le=1.0000001)]
Share = Annotated[float, Field(ge=0, le=1)]
COLUMNS = (
    *("image", "class", "quantized_class", "activation_correlation", "activation_overlap"),
    *("rollout_correlation", "rollout_overlap"),
)


class MapLikeness(Record):
    """How alike two maps are, patch by patch.

    correlation : Pearson's; None where a map is the same everywhere
    overlap : intersection over union of the top fifths of the patches; None where both are 0
    """

    correlation: Correlation | None
    overlap: Share | None


class ImageMaps(Record):
    """The maps of one image.

    image : path in the folder of images
    class_number : the class whose logit both networks are differentiated by
    quantized_class : the quantized network's own
    rollout : None where attention is not of every token to every other
    """

    image: str
    class_number: Count
    quantized_class: Count
    activation: MapLikeness
    rollout: MapLikeness | None


class ClassActivationRecord(Record):
    """The maps of a run's networks on some images.

    layer : the tensor whose channels are weighted
    of_class : how the class was chosen
    """

    format: int = 1
    network: Name
    quantized: Name
    layer: Name
    of_class: Name
    images: list[ImageMaps]
    mean: dict[Name, float | None]
    median: dict[Name, float | None]


def class_activation_record(
    *, network: str, quantized: str, layer: str, of_class: str, images: Sequence[ImageMaps]
) -> ClassActivationRecord:
    """Return the record of some images, with mean and median of every figure that they have."""
    return ClassActivationRecord(
        network=network,
        quantized=quantized,
        layer=layer,
        of_class=of_class,
        images=list(images),
        mean=_over(images, fmean),
        median=_over(images, median),
    )


def class_activation_csv(record: ClassActivationRecord) -> str:
    """Return a row for each image; an empty cell means None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in record.images:
        writer.writerow([row.image, row.class_number, row.quantized_class, *_figures(row)])
    return text.getvalue()


def _figures(row: ImageMaps) -> list[float | None]:
    return [
        figure
        for found in (row.activation, row.rollout)
        for figure in ((found.correlation, found.overlap) if found else (None, None))
    ]


def _over(
    images: Sequence[ImageMaps], function: Callable[[list[float]], float]
) -> dict[str, float | None]:
    """Return a function of every column of figures; None of one without any."""
    columns = zip(*map(_figures, images), strict=True)
    found = {
        name: [value for value in values if value is not None]
        for name, values in zip(COLUMNS[3:], columns, strict=True)
    }
    return {name: function(values) if values else None for name, values in found.items()}
