# SPDX-License-Identifier: Apache-2.0
"""From image files to batches, by timm's own preprocessing; decoding overlaps computing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aocq.data.image_folder import LabelledImage
from aocq.torchvision_compat import declare_missing_operators
from simulator.errors import InputError


class BadImageError(InputError):
    """An image file that cannot be decoded."""


@dataclass(slots=True)
class ImageBatches:
    """Batches of preprocessed images.

    Attributes
    ----------
    images
        the files and labels, in order
    preprocessing
        timm's data configuration of the model (size, crop, interpolation, mean, std)
    skip_bad
        leave undecodable images out (they are noted in ``skipped``) instead of raising
    """

    images: Sequence[LabelledImage]
    preprocessing: Mapping[str, Any]
    batch: int = 32
    skip_bad: bool = False
    skipped: list[Path] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images [n, channels, height, width] float32, labels [n]), ``n <= batch``.

        Raises
        ------
        BadImageError
            At the first undecodable image, unless ``skip_bad``.
        """
        transform = preprocessing_transform(self.preprocessing)
        groups = [self.images[i : i + self.batch] for i in range(0, len(self.images), self.batch)]
        with ThreadPoolExecutor(1) as pool:  # one group ahead
            following = pool.submit(self._read, groups[0], transform) if groups else None
            for index in range(len(groups)):
                assert following is not None
                read = following.result()
                if index + 1 < len(groups):
                    following = pool.submit(self._read, groups[index + 1], transform)
                self.skipped += [path for path, tensor, _ in read if tensor is None]
                good = [(tensor, label) for _, tensor, label in read if tensor is not None]
                if good:
                    yield (
                        torch.stack([tensor for tensor, _ in good]),
                        torch.tensor([label for _, label in good]),
                    )

    def _read(
        self, group: Sequence[LabelledImage], transform: Callable[[Image.Image], Tensor]
    ) -> list[tuple[Path, Tensor | None, int]]:
        read = []
        for item in group:
            try:
                tensor: Tensor | None = transform(open_image(item.path))
            except BadImageError:
                if not self.skip_bad:
                    raise
                tensor = None
            read.append((item.path, tensor, item.label))
        return read


def open_image(path: Path) -> Image.Image:
    """Decode a file completely, as RGB with 8 bits per channel.

    Raises
    ------
    BadImageError
        If it cannot be read, is no image, or is truncated.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):  # 16-bit gray, which Pillow's conversion would clip
                levels = np.asarray(image).clip(0, 65535) >> 8
                return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadImageError(
            f"{path}: cannot be decoded ({error}); replace it, or pass --skip-bad-images to leave "
            "such files out and count them"
        ) from error


def preprocessing_transform(preprocessing: Mapping[str, Any]) -> Callable[[Image.Image], Tensor]:
    """Return timm's evaluation transform: resize, centre crop, to [0, 1], normalize."""
    declare_missing_operators()  # must come before timm, whose import may fail without it
    from timm.data import create_transform

    transform: Callable[[Image.Image], Tensor] = create_transform(
        **preprocessing, is_training=False
    )
    return transform


def evenly(images: Sequence[LabelledImage], count: int | None) -> Sequence[LabelledImage]:
    """Return ``count`` images (None: all) spread over the list, as neighbours share a class."""
    if count is None or count >= len(images):
        return images
    return [images[index * len(images) // count] for index in range(count)]


def load_calibration_images(
    images: Sequence[LabelledImage],
    preprocessing: Mapping[str, Any],
    *,
    skip_bad: bool = False,
) -> tuple[Tensor, list[Path]]:
    """Return all ``images`` as one batch, and the files left out.

    Raises
    ------
    InputError
        If none can be decoded.
    """
    batches = ImageBatches(images, preprocessing, skip_bad=skip_bad)
    tensors = [batch for batch, _ in batches]
    if not tensors:
        raise InputError(f"{images[0].path.parent.parent}: none of the images can be decoded")
    return torch.cat(tensors), batches.skipped
