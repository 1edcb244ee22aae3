# SPDX-License-Identifier: Apache-2.0
"""What can be told at once is: in processes that cannot import torch, so nothing came before it."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import Demo, Finished, digests
from PIL import Image

from aocq.cli import recipes
from aocq.cli.app import COMMANDS, GROUPS
from aocq.cli.checks import CHECKS, check_of
from aocq.cli.options import GEMMS
from aocq.recipes.methods import METHOD_SPECS
from simulator.profile import profile_paths

Run = Callable[..., Finished]
MODEL = "vit_nano_digits"


def encoded(number: int, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 2 * number, 3 * number)).save(file, form)
    return file.getvalue()


def class_folders(folder: Path) -> Path:
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for number in range(3):
            (folder / str(digit) / f"{number}.png").write_bytes(encoded(digit + number))
    return folder


class Places:
    """Names of folders and files for commands, made when they are asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = class_folders(root / "images")
        self.empty = root / "empty"
        self.empty.mkdir()
        (root / "below").mkdir()
        (root / "flat").mkdir()
        (root / "flat" / "0.png").write_bytes(encoded(1))
        (root / "bare" / "0").mkdir(parents=True)
        (root / "bare" / "0" / "notes.txt").write_text("none", encoding="utf-8")
        for name in ("cat", "dog"):
            (root / "named" / name).mkdir(parents=True)
            (root / "named" / name / "0.png").write_bytes(encoded(1))
        damaged = class_folders(root / "damaged")
        (damaged / "7" / "1.png").write_bytes(encoded(1)[:45])
        (root / "quantized").mkdir()
        (root / "quantized" / "quantized.json").write_text("{}", encoding="utf-8")
        (root / "lowered").mkdir()
        (root / "lowered" / "graph.json").write_text("{}", encoding="utf-8")
        (root / "weights.pth").write_bytes(b"\x80")
        text = profile_paths()["edge_npu_int8"].read_text(encoding="utf-8")
        misspelt = text.replace('rounding = "half_up"', 'roundin = "half_up"')
        (root / "misspelt.toml").write_text(misspelt, encoding="utf-8")
        for name, rules in {
            "wide": '[layers]\n"head" = { a = 16 }',
            "narrow": "[recipe]\nweight_bits = 5",
            "unknown": '[layers]\n"head" = { bits = 8 }',
        }.items():
            (root / f"{name}.recipe").write_text(f"format = 1\n{rules}\n", encoding="utf-8")

    def words(self, text: str) -> list[str]:
        return [part.replace("@", f"{self.root}/") for part in text.split()]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("places"))


NETWORK_COMMANDS = (
    f"verify {MODEL} --data @images",
    f"quantize {MODEL} --calib-data @images",
    f"table2 {MODEL} --data @images",
    f"ablate {MODEL} --data @images",
    f"targets {MODEL} --data @images",
)
IMAGE_COMMANDS = tuple(command for command in NETWORK_COMMANDS if "--data" in command)


def cases() -> Iterator[tuple[str, int, str]]:
    """Yield commands, their exit codes and a part of what they say."""
    for command in NETWORK_COMMANDS:
        yield f"{command} --out @weights.pth/run", 3, "weights.pth/run: cannot be written"
        yield f"{command} --preprocessing men=0.5", 3, "--preprocessing men: unknown; choose one"
        yield f"{command} --preprocessing mean", 2, "wanted KEY=VALUE"
        yield f"{command} --model-kwargs depth:3", 2, "wanted KEY=VALUE"
        yield f"{command} --model-kwargs num_classes=3", 3, "pass --num-classes instead"
        option = "--profiles" if command.startswith("targets") else "--profile"
        yield f"{command} {option} @misspelt.toml", 3, "rescale.roundin: unknown key (did you mean"
        yield f"{command} {option} edge_npu_int", 3, "nearest: edge_npu_int8"
        method = "--methods" if command.startswith("table2") else "--method"
        yield f"{command} {method} aoqc", 2, "nearest: aocq"
        misspelt = command.replace(MODEL, "deit_tiny_patch16_225")
        yield misspelt, 3, "has no such model; nearest: deit_tiny_patch16_224"
        tagged = command.replace(MODEL, "vit_tiny_patch16_224.in1k")
        yield tagged, 3, "no weights with the tag in1k; timm"
        named = command.replace(MODEL, "deit_tiny_patch16_224").replace("@images", "@named")
        yield named, 3, "(cat, dog) are not WordNet ids or class names of ImageNet (unknown: cat,"
        yield f"{command} --calib-data @none", 3, "none: no such folder; --calib-data wants"
        yield f"{command} --calib-data @flat", 3, "flat: has no subfolders"
    for command in (f"verify {MODEL}", f"table2 {MODEL}", f"ablate {MODEL}", f"targets {MODEL}"):
        yield f"{command} --data @none", 3, "none: no such folder; --data wants a folder"
        yield f"{command} --data @weights.pth", 3, "weights.pth: no such folder; --data wants"
        yield f"{command} --data @empty", 3, "empty: has no subfolders; wanted one per class"
        yield f"{command} --data @flat", 3, "flat: has no subfolders; wanted one per class"
        yield f"{command} --data @bare", 3, "bare: 1 class folders but no image in them"
        yield f"{command} --data @damaged", 3, "damaged/7/1.png: cannot be decoded"
        yield f"{command} --data @images --gemm mkl", 2, "choose auto, avx2, torch, blas, numba"
    for command in NETWORK_COMMANDS:
        yield f"{command} --num-classes 9", 3, "images: 10 class folders for a network of 9 classes"
    for command in (NETWORK_COMMANDS[0], NETWORK_COMMANDS[1], NETWORK_COMMANDS[3]):
        unpublished = command.replace(MODEL, "vit_small_patch16_36x1_224")
        yield unpublished, 3, "has no pretrained weights of it; pass --weights FILE"
        yield f"{command} --weights @none.pth", 3, "none.pth: no such file; --weights wants"
        yield f"{command} --weights @empty", 3, "empty: is no file; --weights wants"
    for command in NETWORK_COMMANDS[:2]:
        yield f"{command} --w-bits 5", 3, "weight.bits = [8, 4, 3] has no 5 (choose --w-bits 8"
        yield f"{command} --a-bits 6", 3, "activation.bits = 8, the model has 6 (choose --a-bits 8"
        yield f"{command} --a-bits 2", 2, "--a-bits"
        yield f"{command} --recipe @none.toml", 3, "none.toml: not found; --recipe wants a recipe"
        yield f"{command} --recipe @empty", 3, "empty: is a folder"
        yield f"{command} --recipe @misspelt.toml", 3, "misspelt.toml: 14 problem(s): name: unkn"
        yield f"{command} --recipe @unknown.recipe", 3, 'layers."head".bits: unknown key'
        yield f"{command} --recipe @narrow.recipe", 3, "weight.bits = [8, 4, 3] has no 5"
        wide = f"{command} --recipe @wide.recipe"
        yield wide, 3, "products read operands of 8 bits (activation, a_bits of compute.engine"
        yield f"{wide} --profile edge_npu_int8_wide --w-bits 5", 3, "has no 5 (choose --w-bits 8"
    yield "table2 m=@none.pth --data @images", 3, "none.pth: no such file; --weights wants"
    yield "targets m=@none.pth --data @images", 3, "none.pth: no such file; --weights wants"
    yield "demo --profile edge_npu_int", 3, "nearest: edge_npu_int8"
    yield "demo --w-bits 5 --out @new", 3, "weight.bits = [8, 4, 3] has no 5"
    yield "demo --out @weights.pth", 3, "weights.pth: cannot be written"
    yield "lower @empty", 3, "empty/quantized.json: not found; a quantized model is what `aocq"
    yield "lower @empty --profile edge_npu_int", 3, "quantized"
    yield "accumulators @empty --data @images", 3, "empty/quantized.json: not found"
    yield "accumulators @empty --data @none", 3, "not found"
    yield "figures @empty --data @images", 3, "empty/quantized.json: not found"
    yield "figures @empty --cam --data @images", 3, "empty/quantized.json: not found"
    yield "explain @empty --image @weights.pth", 3, "run.json: cannot be read"
    yield "simulate @none --data @images", 3, "none: not found; a graph is the two files"
    yield "simulate @empty --data @images", 3, "empty/graph.json: not found; a graph is the two"
    for place in ("@quantized", "@quantized/quantized.json"):
        for command in (f"inspect {place}", f"simulate {place} --data @images", f"cost {place}"):
            yield command, 3, "is a quantized model, not a graph; `aocq lower /"
    for command in ("lower @", "figures --data @images @", "accumulators --data @images @"):
        yield f"{command}lowered", 3, "lowered: holds a graph, which is lowered; name the folder"
        yield f"{command}lowered/graph.json", 3, "graph.json: is a graph; name the folder of a"
        yield f"{command}quantized/quantized.json", 3, "quantized.json: is a file; name the folder"
    for command in ("profiles validate", "demo --profile"):
        yield f"{command} @nope.toml", 3, "nope.toml: no such file; name a TOML file"
    yield "cost vit_nano_digits --profile edge_npu_int", 3, "nearest: edge_npu_int8"
    yield "cost deit_tiny_patch16_225", 3, "has no such model; nearest: deit_tiny_patch16_224"
    yield "cost @none/graph", 3, "no such graph, and no model's name"
    yield "cost vit_nano_digits --model-kwargs 7", 2, "wanted KEY=VALUE"
    yield "inspect @none", 3, "none: not found; a graph is the two files"
    yield "models deit_tiny*", 0, ""
    yield "models resnet18*", 3, "timm has resnet18, resnet18d, of no known"
    yield "models nope*", 3, "has no such model, without the tag of its weights"
    yield "models --check --out @empty", 3, "empty: is a folder; name a file"
    yield "models --check --profile edge_npu_int", 3, "nearest: edge_npu_int8"
    for command in ("sensitivity", "search"):
        by = "that `aocq verify --out` or `aocq quantize --out` wrote"
        yield f"{command} @empty", 3, f"empty: holds no quantized model; name a folder {by}"
        yield f"{command} @none/run", 3, f"none/run: no such folder; name one {by}"
        yield f"{command} @lowered", 3, "lowered: holds a graph, which is lowered"
        yield f"{command} @empty --widths 4,x", 2, "'x' is no width of weights, 2 to 8 bits"
        yield f"{command} @empty --budget latency_ms", 2, "wanted AXIS=NUMBER, e.g. latency_ms=10"
        yield f"{command} @empty --budget weight_byte=1", 2, "nearest: weight_bytes"
    yield "compare @empty --out @weights.pth/table", 3, "weights.pth/table: cannot be written"
    yield "front @empty --out @weights.pth/front", 3, "weights.pth/front: cannot be written"
    yield "report @empty --out @weights.pth", 3, "weights.pth: cannot be written"


@pytest.mark.parametrize(("command", "code", "message"), [*cases()])
def test_what_can_be_told_at_once_is_told_without_torch(
    without_torch: Run, places: Places, command: str, code: int, message: str
) -> None:
    before = digests(places.root)
    done = without_torch(*places.words(command), code=code)
    words = done.err.replace("│", " ").split()
    assert message in " ".join(words).replace("- ", "-"), done.err
    assert "torch" not in done.err.replace("auto, avx2, torch", "")
    assert digests(places.root) == before
    assert not (places.root / "new").exists()


@pytest.mark.parametrize("command", IMAGE_COMMANDS)
def test_damaged_images_may_be_left_out_or_not_be_chosen(
    without_torch: Run, places: Places, command: str
) -> None:
    """Then the command goes on to where torch is needed, which is not there."""
    words = places.words(command.replace("@images", "@damaged"))
    for allowed in (["--skip-bad-images"], ["--limit", "3"]):
        assert "torch is not installed" in without_torch(*words, *allowed, code=4).err


@pytest.mark.parametrize("command", NETWORK_COMMANDS)
def test_what_is_right_goes_on_to_torch(without_torch: Run, places: Places, command: str) -> None:
    out = places.root / "untouched"
    done = without_torch(*places.words(command), "--out", out, code=4)
    assert "torch is not installed" in done.err
    assert "pip install 'aocq[quantize]'" in done.err
    assert not out.exists()


@pytest.mark.parametrize("command", ["demo --out @new", *IMAGE_COMMANDS])
def test_a_wrong_environment_is_told_at_once(
    without_torch: Run, places: Places, command: str
) -> None:
    """Not when the emulation starts, after the quantization."""
    done = without_torch(*places.words(command), code=4, AOCQ_THREADS="many")
    assert "AOCQ_THREADS = many: must be a whole number" in done.err
    assert not (places.root / "new").exists()


def test_what_a_run_holds_is_told_before_torch(
    without_torch: Run, places: Places, earlier_run: Path
) -> None:
    """Single steps write beside no finished run."""
    calibration = ("--calib-data", places.images)
    for command in (("lower", earlier_run), ("quantize", MODEL, *calibration)):
        assert "finished run" in without_torch(*command, "--out", earlier_run, code=3).err


def test_a_network_that_fails_leaves_no_folder(
    places: Places, warm: Run, demo: Demo, tmp_path: Path
) -> None:
    """As late as the weights are read, nothing has been written."""
    for command in (*NETWORK_COMMANDS[:2], NETWORK_COMMANDS[3]):
        out = tmp_path / command.split()[0] / "run"
        words = (*places.words(command), "--weights", places.root / "weights.pth", "--out", out)
        assert "damaged or not a checkpoint" in warm(*words, code=3).err
    assert list(tmp_path.iterdir()) == []


IN_GROUPS = {
    f"{group}.{name}": command
    for group, (_, commands) in GROUPS.items()
    for name, command in commands.items()
}


def parameters(
    commands: Mapping[str, Callable[..., None]] = COMMANDS,
) -> Iterator[tuple[str, str, Any]]:
    """Yield command, name and annotation of every parameter."""
    for command, function in commands.items():
        for name, found in inspect.signature(function, eval_str=True).parameters.items():
            yield command, name, found.annotation


# What a command itself looks at before anything else.
READ_AT_ONCE = {
    ("compare", "folders"),
    ("front", "folders"),
    ("report", "folder"),
    ("sweep", "plan"),
}


def test_every_path_is_checked_first() -> None:
    paths = {(command, name) for command, name, kind in parameters() if "Path" in str(kind)}
    assert len(paths) > 20
    assert {path for path in paths if check_of(*path) is None} == READ_AT_ONCE


def test_no_check_is_of_a_parameter_that_is_gone() -> None:
    known = {(command, name) for command, name, _ in parameters({**COMMANDS, **IN_GROUPS})}
    for key in CHECKS:
        command, dot, name = key.rpartition(".")
        if dot:
            assert (command, name) in known
        else:
            assert name in {other for _, other in known}


def test_names_known_without_torch_are_those_of_the_tables() -> None:
    from aocq.methods import METHODS
    from simulator.gemm import BACKENDS

    assert tuple(METHODS) == tuple(METHOD_SPECS)
    assert ("auto", *BACKENDS) == GEMMS
    assert recipes.known_method(recipes.LEFT_OUT) in METHODS
