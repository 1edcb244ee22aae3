# SPDX-License-Identifier: Apache-2.0
"""Batches from image files, by timm's own preprocessing; decoding overlaps computing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from aocq.data.decoding import MODES, BadImageError, bad_image, open_image
from aocq.data.fitting import check_fitting
from aocq.data.image_folder import LabelledImage, evenly
from aocq.data.views import view_of
from aocq.zoo.torchvision_compat import declare_missing_operators
from simulator.errors import InputError

__all__ = [
    "BadImageError",
    "Group",
    "ImageBatches",
    "evenly",
    "load_calibration_images",
    "open_image",
    "preprocessing_transform",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Successive files, decoded.

    Attributes
    ----------
    images
        of those that could be decoded, [n, channels, height, width] float32; None without any
    labels
        [n]
    skipped
        the other files
    """

    images: Tensor | None
    labels: Tensor
    skipped: tuple[Path, ...]


@dataclass(slots=True)
class ImageBatches:
    """Batches of preprocessed images, streamed: no more are held than are being read, and one.

    Attributes
    ----------
    images
        the files and labels, in order
    preprocessing
        timm's data configuration of the model (size, crop, interpolation, mean, std)
    skip_bad
        leave undecodable images out (they are noted in ``skipped``) instead of raising
    readers
        how many batches are read at once, one thread each: more than one where nothing else is
        computed meanwhile
    view
        which view of every image, see :func:`aocq.data.views.view_of`
    """

    images: Sequence[LabelledImage]
    preprocessing: Mapping[str, Any]
    batch: int = 32
    skip_bad: bool = False
    skipped: list[Path] = field(default_factory=list)
    readers: int = 1
    view: int = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images [n, channels, height, width] float32, labels [n]), ``n <= batch``.

        Raises
        ------
        BadImageError
            At the first undecodable image, unless ``skip_bad``.
        """
        for group in self.groups():
            if group.images is not None:
                yield group.images, group.labels

    def groups(self) -> Iterator[Group]:
        """Yield every ``batch`` files as a group, empty ones too.

        While the caller computes, threads decode the next groups, no more than ``readers`` of them.

        Raises
        ------
        BadImageError
            At the first undecodable image, unless ``skip_bad``.
        """
        transform = preprocessing_transform(self.preprocessing)
        reading: deque[Future[Group]] = deque()
        with ThreadPoolExecutor(self.readers) as pool:
            for start in range(0, len(self.images), self.batch):
                files = self.images[start : start + self.batch]
                reading.append(pool.submit(self._read, files, transform))
                if len(reading) > self.readers:
                    yield self._noted(reading.popleft().result())
            while reading:
                yield self._noted(reading.popleft().result())

    def _noted(self, group: Group) -> Group:
        self.skipped += group.skipped
        return group

    def _read(
        self, files: Sequence[LabelledImage], transform: Callable[[Image.Image], Tensor]
    ) -> Group:
        tensors, labels, skipped = [], [], []
        for item in files:
            try:
                tensors.append(transform(self._open(item.path)))
                labels.append(item.label)
            except BadImageError:
                if not self.skip_bad:
                    raise
                skipped.append(item.path)
        return Group(
            images=torch.stack(tensors) if tensors else None,
            labels=torch.tensor(labels),
            skipped=tuple(skipped),
        )

    def _open(self, path: Path) -> Image.Image:
        image = open_image(path, self.preprocessing["input_size"][0])
        try:
            check_fitting(image.size, self.preprocessing)
        except ValueError as error:
            raise bad_image(path, str(error)) from error
        view = view_of(image, self.view, path.name)
        try:
            check_fitting(view.size, self.preprocessing)
        except ValueError:  # of an image that only just fits: all views have the same images
            return view_of(image, self.view % 2, path.name)
        return view


def preprocessing_transform(preprocessing: Mapping[str, Any]) -> Callable[[Image.Image], Tensor]:
    """Return timm's evaluation transform: resize, centre crop, to [0, 1], normalize.

    Raises
    ------
    InputError
        If images have neither one channel nor three.
    """
    channels = preprocessing["input_size"][0]
    if channels not in MODES:
        raise InputError(
            f"input_size: images have {channels} channels; files are read as 1 (gray) or 3 (RGB)"
        )
    declare_missing_operators()  # must come before timm, whose import may fail without it
    from timm.data import create_transform

    transform: Callable[[Image.Image], Tensor] = create_transform(
        **preprocessing, is_training=False
    )
    return transform


def load_calibration_images(
    images: Sequence[LabelledImage],
    preprocessing: Mapping[str, Any],
    *,
    skip_bad: bool = False,
    views: int = 1,
) -> tuple[Tensor, list[Path]]:
    """Return all ``images`` as one batch, and the files left out.

    Of several views the first of all images come first, then the second.

    Raises
    ------
    InputError
        If none can be decoded.
    """
    readers = torch.get_num_threads()
    tensors: list[Tensor] = []
    for view in range(views):
        batches = ImageBatches(images, preprocessing, skip_bad=skip_bad, readers=readers, view=view)
        tensors += [batch for batch, _ in batches]
    if not tensors:
        raise InputError(f"{images[0].path.parent.parent}: none of the images can be decoded")
    return torch.cat(tensors), batches.skipped
