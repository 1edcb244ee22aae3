# SPDX-License-Identifier: Apache-2.0
"""``aocq figures``: what quantization did to a network's tensors, drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import options
from aocq.cli.class_activation import MapOptions, draw_maps
from aocq.cli.groups import grouped
from aocq.cli.model_titles import network
from aocq.cli.tasks import chosen_task

if TYPE_CHECKING:
    from torch import Tensor

    from aocq.methods import QuantizedModel
    from aocq.tasks.task import Task

IMAGES = 8  # that tensors are drawn of, unless it is said


@grouped
def command(
    *,
    runs: Annotated[
        list[Path], typer.Argument(help="one or two folders that aocq verify or quantize wrote")
    ],
    data: options.Data,
    task: options.TaskOfRun = None,
    images: Annotated[
        int | None,
        typer.Option("--images", min=1, max=64, help=f"how many images (default: {IMAGES})"),
    ] = None,
    tensor: Annotated[
        str | None,
        typer.Option(
            "--tensor",
            help="tensor of the density figure (default: the one of the residual stream whose "
            "channels differ most in the first run)",
        ),
    ] = None,
    maps: MapOptions,
    out: options.Out = Path("runs/figures"),
) -> None:
    """Draw densities before and after quantization, outliers along depth, and scale passes.

    Prints the paths of the SVG files: density.svg, magnitudes-N.svg for run N, and scales-N.svg
    where the method refined its scales. Two runs of one network stand side by side in density.svg.

    With --cam: class activation maps of one run's float and fake-quantized network, cam.svg and
    cam.png, and how alike they are on many images, cam.csv and cam.json.
    """
    if len(runs) > 2:
        raise typer.BadParameter("give one run or two")
    if maps.cam:
        if len(runs) > 1 or tensor:
            raise typer.BadParameter("--cam takes one run, and no --tensor")
        if images is not None:
            raise typer.BadParameter("--cam takes --cam-images in place of --images")
        draw_maps(runs[0], data, chosen_task(task, runs[0]), maps, out)
        return
    if maps.given:
        raise typer.BadParameter("--cam-images, --class, --layer and --weights go with --cam")
    _draw_tensors(runs, data, task, images or IMAGES, tensor, out)


def _draw_tensors(
    runs: Sequence[Path],
    data: Path,
    task: str | None,
    images: int,
    tensor: str | None,
    out: Path,
) -> None:
    """Write the figures of tensors into ``out``, and print their paths."""
    from aocq import progress
    from aocq.jobs.activations import before_and_after, most_uneven, stream_along_depth
    from aocq.methods import storage
    from aocq.records.publishing import claimed, publish, staging
    from aocq.records.run_folder import refuse_run_folder
    from reports.quantized_figures import Activation, Magnitudes, densities, magnitudes
    from reports.quantized_figures import scale_passes as scale_figure
    from simulator.errors import InputError
    from simulator.files import write_text

    with claimed(out, progress.note):
        refuse_run_folder(out)
        models = [storage.load(folder) for folder in runs]
        drawn: dict[str, str] = {}
        activations = []
        judged_on: list[str] = []
        for number, (folder, model) in enumerate(zip(runs, models, strict=True), 1):
            pixels, said = _pixels(folder, model, data, images, chosen_task(task, folder))
            judged_on.append(said)
            stream = stream_along_depth(model.graph)
            names = [node.name for node in model.graph.nodes]
            if tensor and tensor not in names:
                near = ", ".join(get_close_matches(tensor, names))
                way = f"nearest: {near}" if near else "`aocq inspect` lists them"
                way = way if number == 1 else "give two runs of one network"
                raise InputError(f"{folder}: no tensor {tensor}; {way}")
            with progress.show(f"tensors of {model.title}", 1) as advance:
                pairs = before_and_after(model, pixels, {*stream, *([tensor] if tensor else [])})
                advance(1)
            tensor = tensor or most_uneven({name: pairs[name] for name in stream})
            before, after = (x.float().flatten().numpy() for x in pairs[tensor])
            activations.append(
                Activation(title=model.title, tensor=tensor, before=before, after=after)
            )
            values = [pairs[name][0].float().abs() for name in stream]
            depth = Magnitudes(
                title=f"{network(model)}, {model.title}, {judged_on[-1]}",
                tensors=tuple(stream),
                channels=tuple(x.reshape(-1, x.shape[-1]).amax(0).numpy() for x in values),
                tokens=tuple(x.amax(-1).flatten().numpy() for x in values),
            )
            drawn[f"magnitudes-{number}"] = magnitudes(depth)
            scales = scale_figure(losses_of_passes(model), f"{network(model)}, {model.title}")
            if scales:
                drawn[f"scales-{number}"] = scales
            else:
                progress.note(f"{folder}: {model.method} logged no passes of scale refinement")
        of = " / ".join(dict.fromkeys(map(network, models)))
        of += f", {' / '.join(dict.fromkeys(judged_on))}"
        drawn["density"] = densities(activations, of)
        complete = staging(out)
        for name, text in sorted(drawn.items()):
            write_text(complete / f"{name}.svg", text)
        publish(out, "figures", " ".join(map(str, runs)))
        for name in sorted(drawn):
            print(out / f"{name}.svg")


def _pixels(
    folder: Path, model: QuantizedModel, data: Path, images: int, task: Task
) -> tuple[Tensor, str]:
    """Return images of a folder as a quantized model takes them, and what to call them."""
    from aocq.data.decoding import none_left_out
    from aocq.data.loader import load_calibration_images
    from aocq.jobs.run_sources import described, images_for
    from reports.format import evaluated

    meta = described(folder, model)
    files, record = images_for(task, data, meta, images)
    with none_left_out():
        pixels, _ = load_calibration_images(files, meta.preprocessing)
    return pixels, evaluated(len(files), record)


def losses_of_passes(model: QuantizedModel) -> dict[str, dict[int, float]]:
    """Return the losses of scale refinement that a method logged, by block and pass."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for entry in model.log:
        if entry.get("stage") == "scales":
            found[str(entry["block"])][int(entry["pass"])] = float(entry["loss"])
    return dict(found)
