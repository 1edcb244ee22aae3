# SPDX-License-Identifier: Apache-2.0
"""The bundled handwritten digits, and how they become a folder of images.

The images are those of scikit-learn's ``load_digits``: 1,797 digits of 8x8 pixels, which is the
test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI Machine
Learning Repository, 1998, https://doi.org/10.24432/C50P49), licensed under CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/). ``digits.npz`` bundles two disjoint, class-balanced
selections of them, unchanged: ``val``, which the demo network has never seen, and ``calib``, a few
of the images it was trained on. :mod:`aocq.demo.train` draws both.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aocq.demo.whole_folder import write_whole_folder

SplitName = Literal["calib", "val"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)
DIGITS_FILE = "digits.npz"
# The scanned bitmaps were reduced by counting the inked pixels of each 4x4 block: 0 to 16.
INK_MAX = 16


class DigitSplit(NamedTuple):
    """Images and what they show.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, 8, 8)
        Ink per pixel, from 0 (paper) to 16.
    labels : ndarray of uint8, shape (N,)
        The digit, 0 to 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def load_split(name: SplitName) -> DigitSplit:
    """Read one of the two bundled selections.

    Parameters
    ----------
    name : {"calib", "val"}
        ``calib`` has 128 images of the training part, ``val`` the 360 held-out ones.

    Returns
    -------
    DigitSplit
        The images in the order in which :func:`write_image_folder` numbers them.
    """
    bundled = resources.files("aocq.demo") / DIGITS_FILE
    with bundled.open("rb") as stream, np.load(stream) as arrays:
        return DigitSplit(arrays[f"{name}_images"], arrays[f"{name}_labels"])


def save_splits(path: Path, splits: dict[SplitName, DigitSplit]) -> None:
    """Write the selections in the form that :func:`load_split` reads.

    Parameters
    ----------
    path : Path
        The ``.npz`` file to write.
    splits : dict
        Both selections by name.
    """
    arrays: dict[str, NDArray[np.uint8]] = {}
    for name in SPLIT_NAMES:
        arrays[f"{name}_images"] = splits[name].images
        arrays[f"{name}_labels"] = splits[name].labels
    np.savez_compressed(path, allow_pickle=False, **arrays)


def gray_levels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Spread ink values over the 8-bit range, as the image files hold them.

    Parameters
    ----------
    images : ndarray of uint8
        Ink per pixel, 0 to 16; any shape.

    Returns
    -------
    ndarray of uint8
        ``ink * 255 // 16``, same shape.
    """
    return (images.astype(np.uint16) * 255 // INK_MAX).astype(np.uint8)


def write_image_folder(folder: Path) -> None:
    """Write the bundled digits as ``folder/{calib,val}/<digit>/<index>.png``.

    The files are 8-bit grayscale PNGs, numbered by their place in the selection; see
    :func:`aocq.demo.whole_folder.write_whole_folder` for what becomes of a folder that is there.

    Parameters
    ----------
    folder : Path
        The folder to make, with its parents. It may exist if it is empty or complete.

    Raises
    ------
    FileExistsError
        If ``folder`` is a file, or holds something else than all of the images.
    """

    def write(written: Path) -> None:
        for name in SPLIT_NAMES:
            _write_split(written, name)

    files = [relative for name in SPLIT_NAMES for relative in _image_paths(name)]
    write_whole_folder(folder, files, write, "bundled digits")


def _image_paths(name: SplitName) -> list[Path]:
    """Where the images of a selection go, relative to the folder and in their order."""
    labels = load_split(name).labels
    return [Path(name) / str(label) / f"{index:04d}.png" for index, label in enumerate(labels)]


def _write_split(folder: Path, name: SplitName) -> None:
    """Write the images of one selection below ``folder``."""
    pixels = gray_levels(load_split(name).images)
    for image, relative in zip(pixels, _image_paths(name), strict=True):
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, format="PNG", optimize=True)
