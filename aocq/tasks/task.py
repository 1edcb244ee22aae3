# SPDX-License-Identifier: Apache-2.0
"""A task: the row that tells all other code what a network is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq.data.image_folder import LabelledImage
from aocq.records.accuracy import Agreement, LogitSqnr, PairedOutcomes, Score
from aocq.records.image_outcomes import ImageOutcomes
from aocq.records.shown_images import ShownBox
from aocq.tasks.names import MODULES
from simulator.cost.host_work import HostWork
from simulator.errors import InputError
from simulator.graph import IntGraph

Outputs = NDArray[np.float64]  # [images, ...], real values
Note = Callable[[str], None]
Size = tuple[int, int]  # height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The images of a folder and what is true of them.

    Attributes
    ----------
    images
        the label of each says what is true of it, as the task defines it
    classes
        how many there are
    truth
        more that the task knows of the images; None: the labels are all
    digest
        of ``truth``
    """

    images: Sequence[LabelledImage]
    classes: int
    truth: Any = None
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenImage:
    """An image that a report is to show.

    Attributes
    ----------
    label
        of the image, which no other has
    differs
        whether it was chosen because float and integer networks differ in it
    boxes
        by ``true``, ``float``, ``integer``, in pixels of what the network sees; empty: it has none
    classes
        of patches, row by row, by the same names; None where nothing is true of a patch; empty: it
        has none
    """

    label: int
    differs: bool
    boxes: Mapping[str, Sequence[ShownBox]] = field(default_factory=dict)
    classes: Mapping[str, Sequence[Sequence[int | None]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Images that a report is to show; ``least_score`` is that of the boxes in them, if any."""

    images: Sequence[ChosenImage]
    least_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How good three networks are, and how alike: parts of :class:`aocq.records.accuracy.Accuracy`.

    Attributes
    ----------
    scores
        of each engine, in percent by key
    paired, outcomes
        None where images are not judged one by one
    chosen
        images to show; None: the report has no pictures
    """

    scores: Mapping[str, Mapping[str, float]]
    agreement: Agreement
    sqnr: LogitSqnr
    paired: PairedOutcomes | None = None
    outcomes: ImageOutcomes | None = None
    chosen: Chosen | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a network does.

    Attributes
    ----------
    name
        of the option
    scores
        by which networks are judged; the first is what gates and tables hold
    alike, shares_of
        what agreement of two networks means, and what it is the share of
    read
        from a folder, the size of the last dimension of a network's output and where to send
        remarks, to images; InputError where the folder has none of the task
    images
        from the same to images alone, where nothing has to be true of them: to calibrate with;
        None: those of ``read``
    check_images
        from a dataset and those of its images that are to be evaluated to nothing, before they are;
        InputError where there is nothing to judge a network by
    check
        from a network's name, the shape of its output [...], without images, and its preprocessing
        to nothing; InputError where the task cannot read it
    judge
        from outputs by engine, labels int64 [images], the dataset, and height and width in pixels
        of what the network sees
    judge_one
        from the outputs of one network, and the rest of ``judge``'s, to its scores
    agreement
        from the outputs of two networks, the first the reference, and that size to how alike they
        are, in percent
    preprocessing
        of images, where neither the network's own nor the command line's is right
    host_work
        from the shape of an output that ``check`` accepts to what the host does with it before it
        is a result, in steps, of which costs are estimated; none where the output is the result
    values_behind_classes
        how many values of the last dimension of a network's output are none of a class
    boxes
        from a network's output for one image, [...], and the image's size to the boxes that a
        picture shows, with classes by number; None: there are none
    """

    name: str
    scores: tuple[Score, ...]
    alike: str
    shares_of: str
    read: Callable[[Path, int, Note], Dataset]
    check: Callable[[str, tuple[int, ...], Mapping[str, Any]], None]
    judge: Callable[[Mapping[str, Outputs], NDArray[np.int64], Dataset, Size], Judgement]
    judge_one: Callable[[Outputs, NDArray[np.int64], Dataset, Size], Mapping[str, float]]
    agreement: Callable[[Outputs, Outputs, Size], float]
    images: Callable[[Path, int, Note], Sequence[LabelledImage]] | None = None
    check_images: Callable[[Dataset, Sequence[LabelledImage]], None] = lambda dataset, chosen: None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    host_work: Callable[[tuple[int, ...]], tuple[HostWork, ...]] = lambda shape: ()
    values_behind_classes: int = 0
    boxes: Callable[[Outputs, Size], Sequence[ShownBox]] | None = None


def images_of(task: Task, folder: Path, outputs: int, note: Note) -> Sequence[LabelledImage]:
    """Return a folder's images as a task lists them, whether or not it has what is true of them."""
    if task.images is None:
        return task.read(folder, outputs, note).images
    return task.images(folder, outputs, note)


def task_of(name: str) -> Task:
    """Return a task by its name, one of :data:`aocq.tasks.names.MODULES`.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in MODULES:
        raise InputError(f"task {name}: choose one of {', '.join(MODULES)}")
    found: Task = import_module(MODULES[name]).TASK
    return found


def host_work_of(name: str, graph: IntGraph) -> tuple[HostWork, ...]:
    """Return what the host does with a graph's result in a task, by the task's name."""
    return task_of(name).host_work(graph.tensors[graph.outputs[0]].shape)
