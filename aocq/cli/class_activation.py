# SPDX-License-Identifier: Apache-2.0
"""The part of ``aocq figures`` that draws class activation maps: ``--cam``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aocq.cli.console import print_columns
from aocq.cli.model_titles import network, title

if TYPE_CHECKING:
    from aocq.jobs.compared_maps import ComparedMaps
    from aocq.records.class_activation import ClassActivationRecord, ImageMaps
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


def draw_maps(
    run: Path, weights: Path | None, data: Path, images: int, number: int | None, out: Path
) -> None:
    """Write cam.csv, cam.json, cam.svg and cam.png into ``out``; print means, medians and paths.

    Parameters
    ----------
    weights
        checkpoint of the float network, see :func:`aocq.jobs.run_sources.load_float_network`
    images
        how many of the folder are looked at, evenly taken
    number
        of the class; None: the float network's own
    """
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
        record, shown, said = _compared(run, weights, data, images, number)
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
    run: Path, weights: Path | None, data: Path, images: int, number: int | None
) -> tuple[ClassActivationRecord, list[ComparedMaps], str]:
    """Return the record of all images, the maps of some, and what to call the images."""
    from aocq import progress
    from aocq.capture import capture
    from aocq.jobs.class_activation import float_network
    from aocq.jobs.compared_maps import class_chooser, compared_maps
    from aocq.jobs.run_sources import described, images_for, load_float_network, task_in
    from aocq.methods import storage
    from aocq.records.class_activation import class_activation_record
    from reports.format import evaluated

    model = storage.load(run)
    meta = described(run, model)
    choose = class_chooser(task_in(run), model.graph, number)
    files, of = images_for(run, data, meta, images)
    loaded = load_float_network(run, model, weights)
    channels, height, width = meta.preprocessing["input_size"]
    graph = capture(loaded.network, loaded.name, (channels, height, width))
    wanted = {len(files) * place // min(SHOWN, len(files)) for place in range(SHOWN)}
    rows: list[ImageMaps] = []
    shown: list[ComparedMaps] = []
    with progress.show("class activation maps", len(files)) as advance:
        for found in compared_maps(model, graph, files, data, meta.preprocessing, choose):
            if len(rows) in wanted:
                shown.append(found)
            rows.append(found.figures)
            advance(1)
    record = class_activation_record(
        network=network(model),
        quantized=title(model),
        layer=float_network(graph).layer.name,
        of_class="the float network's own" if number is None else str(number),
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
