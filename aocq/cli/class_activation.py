# SPDX-License-Identifier: Apache-2.0
"""The part of ``aocq figures`` that draws class activation maps: ``--cam``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import options
from aocq.cli.console import print_columns
from aocq.cli.groups import OptionGroup
from aocq.cli.model_titles import network

if TYPE_CHECKING:
    from aocq.jobs.compared_maps import ComparedMaps
    from aocq.records.class_activation import ClassActivationRecord, ImageMaps
    from aocq.tasks.task import Task
    from reports.activation_maps import Row

CAM_IMAGES = 50  # that maps are compared on, unless it is said
SHOWN = 6  # images that are drawn
NAME = "cam"
FIGURES = {
    "activation_correlation": "class activation map, correlation",
    "activation_overlap": "class activation map, overlap of the top fifth",
    "rollout_correlation": "attention roll-out, correlation",
    "rollout_overlap": "attention roll-out, overlap of the top fifth",
}


@dataclass(frozen=True, kw_only=True)
class MapOptions(OptionGroup):
    """Which class activation maps are drawn, and whether any are."""

    cam: Annotated[
        bool,
        typer.Option(
            "--cam",
            help="draw class activation maps (Grad-CAM) and attention roll-outs of the float and "
            "the fake-quantized network instead",
        ),
    ] = False
    cam_images: Annotated[
        int | None,
        typer.Option(
            "--cam-images",
            min=1,
            max=options.MOST_IMAGES,
            help=f"with --cam: on how many images maps are compared (default: {CAM_IMAGES})",
        ),
    ] = None
    class_number: Annotated[
        int | None,
        typer.Option(
            "--class",
            min=0,
            max=options.MOST_CLASSES,
            help="with --cam: number of the class that maps are of (default: of every image the "
            "float network's own)",
        ),
    ] = None
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            help="with --cam: tensor whose tokens are weighted (default: what the last attention "
            "reads)",
        ),
    ] = None
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            help="with --cam: checkpoint of the float network (default: the run's)",
        ),
    ] = None

    @property
    def given(self) -> bool:
        """Whether anything is said that only --cam makes use of."""
        said = (self.cam_images, self.class_number, self.layer, self.weights)
        return any(value is not None for value in said)


def draw_maps(run: Path, data: Path, task: Task, asked: MapOptions, out: Path) -> None:
    """Write cam.csv, cam.json, cam.svg and cam.png into ``out``; print means, medians and paths."""
    from aocq import progress
    from aocq.jobs.run_sources import described
    from aocq.methods import storage
    from aocq.records.class_activation import class_activation_csv
    from aocq.records.publishing import claimed, publish, staging
    from aocq.records.run_folder import refuse_run_folder
    from reports.activation_maps import activation_maps
    from simulator.files import write_text

    with claimed(out, progress.note):
        refuse_run_folder(out)
        record, shown, said = _compared(run, data, task, asked)
        model = storage.load(run)
        classes = described(run, model).classes
        rows = [_row(found, classes) for found in shown]
        heading = f"{record.network}, {record.quantized}, {said}; class: {record.of_class}"
        drawn = activation_maps(rows, record.quantized, heading)
        complete = staging(out)
        write_text(complete / f"{NAME}.csv", class_activation_csv(record))
        write_text(complete / f"{NAME}.json", record.model_dump_json(indent=1) + "\n")
        drawn.write(complete, NAME)
        publish(out, "figures --cam", str(run))
    _print(record)
    for suffix in ("csv", "json", "svg", "png"):
        print(out / f"{NAME}.{suffix}")


def _compared(
    run: Path, data: Path, task: Task, asked: MapOptions
) -> tuple[ClassActivationRecord, list[ComparedMaps], str]:
    """Return the record of all images, the maps of some, and what to call the images."""
    from aocq import progress
    from aocq.capture import capture
    from aocq.data.decoding import none_left_out
    from aocq.jobs.class_activation import float_network
    from aocq.jobs.compared_maps import class_chooser, compared_maps
    from aocq.jobs.run_sources import described, images_for, load_float_network
    from aocq.methods import storage
    from aocq.records.class_activation import class_activation_record
    from reports.format import evaluated

    model = storage.load(run)
    meta = described(run, model)
    choose = class_chooser(task, model.graph, asked.class_number)
    files, of = images_for(task, data, meta, asked.cam_images or CAM_IMAGES)
    loaded = load_float_network(run, model, asked.weights)
    channels, height, width = meta.preprocessing["input_size"]
    graph = capture(loaded.network, loaded.name, (channels, height, width))
    wanted = {len(files) * place // min(SHOWN, len(files)) for place in range(SHOWN)}
    rows: list[ImageMaps] = []
    shown: list[ComparedMaps] = []
    with none_left_out(), progress.show("class activation maps", len(files)) as advance:
        for found in compared_maps(
            model, graph, files, data, meta.preprocessing, choose, asked.layer
        ):
            if len(rows) in wanted:
                shown.append(found)
            rows.append(found.figures)
            advance(1)
    record = class_activation_record(
        network=network(model),
        quantized=model.title,
        layer=float_network(graph, asked.layer).layer.name,
        of_class="the float network's own"
        if asked.class_number is None
        else str(asked.class_number),
        images=rows,
    )
    return record, shown, evaluated(len(files), of)


def _row(found: ComparedMaps, classes: int) -> Row:
    from aocq.data.class_names import class_title
    from reports.activation_maps import Row, View

    figures = found.figures
    names = [class_title(each, classes) for each in (figures.class_number, figures.quantized_class)]
    views = [View(name="Grad-CAM", maps=found.activation, likeness=figures.activation)]
    if found.rollout is not None and figures.rollout is not None:
        views.append(View(name="roll-out", maps=found.rollout, likeness=figures.rollout))
    return Row(
        image=found.image,
        name=f"class {names[0]}\nquantized: {names[1]}",
        views=tuple(views),
    )


def _print(record: ClassActivationRecord) -> None:
    from reports.format import plural

    def shown(value: float | None) -> str:
        return "—" if value is None else f"{value:.4f}"

    same = sum(row.class_number == row.quantized_class for row in record.images)
    rows = [
        [label, shown(record.mean[key]), shown(record.median[key])]
        for key, label in FIGURES.items()
    ]
    print_columns(["float against quantized", "mean", "median"], rows)
    print(f"{plural(len(record.images), 'image')}, {same} of the same class; at {record.layer}")
