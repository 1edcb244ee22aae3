# SPDX-License-Identifier: Apache-2.0
"""Early checks of a command's options, before torch and timm are imported.

Importing them takes seconds, and what they are needed for minutes: a mistyped folder must not come
to light after that. :func:`checked_first` makes every command begin with the rows of
:data:`CHECKS` that its parameters have, by their names. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aocq.cli import network_checks, options
from aocq.cli.recipes import RecipeFields, recipe_of
from aocq.cli.tasks import task_of_parameters
from aocq.recipes.recipe import Recipe
from aocq.tasks.names import CLASSIFICATION

Parameters = Mapping[str, Any]
Check = Callable[[Any, Parameters], None]
RUN_FILES = ("quantized.json", "quantized.safetensors", "graph.json")
MADE_BY = "what `aocq quantize --out` writes"


def checked_first(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that checks its parameters before it does anything else.

    Parameters
    ----------
    name
        the command's; a row ``name.parameter`` of :data:`CHECKS` goes before one of the parameter
    """

    @wraps(command)
    def checked(**parameters: Any) -> None:
        for parameter, value in parameters.items():
            check = check_of(name, parameter)
            if check is not None and (value is not None or parameter in EVEN_LEFT_OUT):
                check(value, parameters)
        command(**parameters)

    return checked


def check_of(command: str, parameter: str) -> Check | None:
    """Return what is checked of a command's parameter, if anything."""
    return CHECKS.get(f"{command}.{parameter}", CHECKS.get(parameter))


def _profile(name: str, parameters: Parameters) -> None:
    from simulator.profile_names import profile_file

    profile_file(name)  # a mistyped name takes none of what reads the file

    from simulator.profile import load_profile

    profile = load_profile(name)
    parameters = {**parameters, **_recipe_fields(parameters)}
    weight_bits = parameters.get("weight_bits")
    activation_bits = parameters.get("activation_bits", profile.activation.operand_width)
    if weight_bits is None or activation_bits is None:
        return

    from aocq.recipes.layer_rules import NO_RULES
    from aocq.recipes.methods import leaves_floats
    from aocq.recipes.widths import missing_layer_widths, missing_widths
    from simulator.errors import InputError

    method, float_ops = parameters.get("method"), parameters.get("float_ops")
    in_float = method is not None and float_ops is not None and leaves_floats(method, float_ops)
    missing = missing_widths(
        profile,
        weight_bits,
        activation_bits,
        parameters.get("end_bits"),
        leaves_floats=in_float,
    )
    layers = parameters.get("layers", NO_RULES)
    missing |= missing_layer_widths(profile, layers, leaves_floats=in_float)
    if missing:
        told = "; ".join(problem + advice for problem, advice in missing.items())
        raise InputError(f"profile {profile.name}: {told}; or choose another profile")


def _recipe_fields(parameters: Parameters) -> Parameters:
    """Return the fields of the recipe that a command is asked for, by name; else nothing."""
    if not set(RecipeFields.NAMES) <= parameters.keys():
        return {}
    plain = recipe_of(parameters.get("recipe_file"), Recipe())
    found = {field.name: getattr(plain, field.name) for field in fields(plain)}
    given = {name: parameters[name] for name in RecipeFields.NAMES}
    return {**found, **{name: value for name, value in given.items() if value is not None}}


def _recipe_file(path: Path, parameters: Parameters) -> None:
    del parameters
    recipe_of(path, Recipe())


def _images(folder: Path, option: str, parameters: Parameters) -> list[Path]:
    """Check a folder of images of the command's task; return them where it is not too large."""
    classes, name = network_checks.classes(parameters), task_of_parameters(parameters)
    if name == CLASSIFICATION:
        from aocq.data.first_look import check_image_folder

        return check_image_folder(folder, option, classes)
    from aocq.data.image_folder import evenly
    from aocq.tasks.task import images_of, task_of

    if classes is None:  # then the folder is read when the network is known
        return []
    task, note = task_of(name), lambda _: None
    if option != "--data":  # nothing has to be true of images to calibrate with
        return [image.path for image in images_of(task, folder, classes, note)]
    dataset = task.read(folder, classes, note)
    task.check_images(dataset, evenly(dataset.images, parameters.get("limit")))
    return [image.path for image in dataset.images]


def _calibration(folder: Path, parameters: Parameters) -> None:
    if parameters.get("data", folder) is not None:  # else it is a wrong usage, as the command says
        _images(folder, "--calib-data", parameters)


def _data(folder: Path, parameters: Parameters) -> None:
    from aocq.data.first_look import check_whole

    images = _images(folder, "--data", parameters)
    if "skip_bad_images" not in parameters:
        from aocq.data.decoding import none_left_out

        with none_left_out():
            check_whole(images, parameters.get("limit"))
    elif not parameters["skip_bad_images"]:
        check_whole(images, parameters.get("limit"))


def _quantized(folder: Path, parameters: Parameters) -> None:
    from simulator.errors import InputError

    del parameters
    if folder.is_file():
        what = "is a graph" if folder.name == "graph.json" else "is a file"
        raise InputError(f"{folder}: {what}; name the folder of a quantized model, {MADE_BY}")
    if (folder / "graph.json").is_file() and not (folder / "quantized.json").exists():
        raise InputError(
            f"{folder}: holds a graph, which is lowered; name the folder of a quantized model, "
            f"{MADE_BY}"
        )
    for name in ("quantized.json", "quantized.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: not found; a quantized model is {MADE_BY}")


def _run_or_quantized(folder: Path, parameters: Parameters) -> None:
    """Check that a folder holds a quantized model, as folders of runs do."""
    from simulator.errors import InputError

    if not folder.exists():
        raise InputError(
            f"{folder}: no such folder; name one that `aocq verify --out` or `aocq quantize --out` "
            "wrote"
        )
    if folder.is_dir() and not any((folder / name).exists() for name in RUN_FILES):
        raise InputError(
            f"{folder}: holds no quantized model; name a folder that `aocq verify --out` or "
            "`aocq quantize --out` wrote"
        )
    _quantized(folder, parameters)


def _of_runs(folders: list[Path], parameters: Parameters) -> None:
    for folder in folders:
        _quantized(folder, parameters)


def _run(folder: Path, parameters: Parameters) -> None:
    from aocq.records.run_folder import load_record

    load_record(folder)
    _quantized(folder, parameters)
    _graph(folder, parameters)


def _image_folder(option: str) -> Check:
    """Return the check that a folder is there; what is in it depends on the run's task."""

    def check(folder: Path, parameters: Parameters) -> None:
        from simulator.errors import InputError

        del parameters
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; {option} wants a folder of images")

    return check


def _image(path: Path, parameters: Parameters) -> None:
    """Check that a file can be decoded, with as many channels as it has."""
    from aocq.data.decoding import BadImageError, open_image
    from simulator.errors import InputError

    del parameters
    try:
        open_image(path)
    except BadImageError as error:
        raise InputError(
            f"{path}: cannot be decoded ({error.reason}); name another image with --image"
        ) from error


def _graph(path: Path, parameters: Parameters) -> None:
    from simulator.errors import InputError

    del parameters
    quantized = path.parent if path.name == "quantized.json" else path
    if (quantized / "quantized.json").is_file() and (
        quantized != path or not (path / "graph.json").exists()
    ):
        raise InputError(
            f"{path}: is a quantized model, not a graph; `aocq lower {quantized}` makes one of it"
        )
    file = path / "graph.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"{file}: {'is no file' if file.exists() else 'not found'}; a graph is the two files "
            "graph.json and graph.safetensors, as `aocq lower` and `aocq verify` write them"
        )


def _graph_or_name(text: str, parameters: Parameters) -> None:
    from simulator.errors import InputError

    if Path(text).exists():
        _graph(Path(text), parameters)
    elif "/" in text or text.endswith(".json"):
        raise InputError(f"{text}: no such graph, and no model's name")
    else:
        network_checks.name(text, parameters)


def _codes(path: Path, parameters: Parameters) -> None:
    from simulator.errors import InputError

    if not path.is_file() and parameters.get("data") is None:
        what = "is no file" if path.exists() else "no such file"
        raise InputError(f"{path}: {what}; --inputs wants a .npy file of codes")


def _operands(texts: list[str], parameters: Parameters) -> None:
    from aocq.cli.simulate_op import path_of

    for text in texts:
        _codes(path_of(text), parameters)


def _settings(option: str) -> Check:
    def check(texts: list[str], parameters: Parameters) -> None:
        from aocq.zoo.options import check_arguments, check_keys

        named = parameters.get("model") or parameters.get("network")
        model = str(named or ", ".join(parameters.get("models", ())))
        found = options.settings(texts, option)
        (check_arguments if option == "--model-kwargs" else check_keys)(model, found)

    return check


def _threads(given: int | None, parameters: Parameters) -> None:
    from simulator.config import default_threads

    del parameters
    if given is None:
        default_threads()


def _out_folder(folder: Path, parameters: Parameters) -> None:
    from simulator.files import check_writable

    del parameters
    check_writable(folder)


def _out_beside_no_run(folder: Path, parameters: Parameters) -> None:
    from aocq.records.run_folder import refuse_run_folder

    refuse_run_folder(folder)
    _out_folder(folder, parameters)


def _golden_out(folder: Path, parameters: Parameters) -> None:
    from simulator.golden.files import refuse_other

    refuse_other(folder)
    _out_folder(folder, parameters)


def _out_file(path: Path, parameters: Parameters) -> None:
    from simulator.errors import InputError

    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    _out_folder(path.parent, parameters)


def _demo(task: str, parameters: Parameters) -> None:
    from aocq.cli.demo import folder_of

    _threads(None, parameters)
    _out_folder(folder_of(task, parameters.get("out")), parameters)


def _lowered(folder: Path, parameters: Parameters) -> None:
    _quantized(folder, parameters)
    if parameters.get("out") is None:
        _out_beside_no_run(folder, parameters)


# Parameters whose default depends on the machine.
EVEN_LEFT_OUT = frozenset({"threads"})
# By name of a parameter, or of a command and its parameter.
CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "calibration": _calibration,
        "data": _data,
        "graph": _graph,
        "inputs": _codes,
        "junit": _out_file,
        "model": network_checks.pretrained_or_weights,
        "model_kwargs": _settings("--model-kwargs"),
        "out": _out_folder,
        "preprocessing": _settings("--preprocessing"),
        "profile": _profile,
        "run_calibration": _image_folder("--calib-data"),
        "run_data": _image_folder("--data"),
        "run_profile": _profile,
        "run_weights": network_checks.weights,
        "recipe_file": _recipe_file,
        "threads": _threads,
        "weights": network_checks.weights,
        "accumulators.folder": _quantized,
        "accumulators.out": _out_beside_no_run,
        "compare.html": _out_file,
        "cost.network": _graph_or_name,
        "demo.task": _demo,
        "explain.image": _image,
        "explain.out": _out_file,
        "explain.run": _run,
        "export.model-explorer.out": _out_file,
        "export.onnx.out": _out_file,
        "export.tflite.out": _out_file,
        "figures.runs": _of_runs,
        "golden.directed.out": _golden_out,
        "golden.record.out": _golden_out,
        "lower.folder": _lowered,
        "lower.out": _out_beside_no_run,
        "models.out": _out_file,
        "prove.certificate": _out_file,
        "prove.inputs_out": _out_beside_no_run,
        "quantize.out": _out_beside_no_run,
        "search.confirm_data": _image_folder("--confirm-data"),
        "search.out": _out_beside_no_run,
        "search.run": _run_or_quantized,
        "sensitivity.out": _out_beside_no_run,
        "sensitivity.run": _run_or_quantized,
        "simulate.inputs": _operands,
        "table2.models": network_checks.named_with_weights,
        "targets.model": network_checks.named_with_weights,
    }
)
