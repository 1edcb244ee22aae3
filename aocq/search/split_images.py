# SPDX-License-Identifier: Apache-2.0
"""Images to confirm a search on: none of those that it judged candidates by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aocq import progress
from aocq.data.image_folder import LabelledImage, evenly
from aocq.search.candidates import Laboratory
from simulator.errors import InputError


def images_to_confirm(
    searching: Laboratory, folder: Path | None, limit: int | None, *, wanted: bool
) -> Sequence[LabelledImage]:
    """Return images of a folder, or those of the search's folder that it leaves out.

    Parameters
    ----------
    limit
        the most images, evenly taken; None: all
    wanted
        whether any are needed

    Raises
    ------
    InputError
        If they are wanted and there are none.
    """
    inputs = searching.inputs
    used = {image.path for image in evenly(inputs.images, searching.request.evaluation.limit)}
    images: Sequence[LabelledImage] = inputs.images
    if folder is not None:
        images = inputs.task.read(folder, inputs.dataset.classes, progress.note).images
    real = {path.resolve() for path in used}
    left = [image for image in images if image.path.resolve() not in real]
    if wanted and not left:
        where = folder or searching.request.evaluation.folder
        raise InputError(
            f"{where}: the search uses all of its {len(images)} images; leave some to confirm on "
            "with a smaller --limit, or name others with --confirm-data FOLDER"
        )
    return evenly(left, limit)
