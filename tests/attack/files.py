# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile files of every kind, through every command that reads them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mutations import byte_mutants, json_mutants, text_mutants

from attack import forked
from attack.judged import Tally

Mutants = Iterator[tuple[str, bytes]]
Mutator = Callable[[Path, int, int], Mutants]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A file of a run's folder, how it is spoiled, and what then reads it.

    Attributes
    ----------
    file
        relative to the folder of the attack
    commands
        taken in turn; ``{}`` is the folder of the attack
    sealed
        whether the file is held by a hash: what is accepted must then be what was there
    """

    name: str
    file: str
    mutants: Mutator
    commands: tuple[str, ...]
    sealed: bool = False


def flipped(path: Path, seed: int, count: int) -> Mutants:
    """Bytes changed."""
    return byte_mutants(path.read_bytes(), seed, count)


def lines_changed(path: Path, seed: int, count: int) -> Mutants:
    """Lines and values of a text changed."""
    for what, text in text_mutants(path.read_text("utf-8"), seed, count):
        yield what, text.encode()


def values_changed(path: Path, seed: int, count: int) -> Mutants:
    """Values of a JSON document changed."""
    for what, plain in json_mutants(json.loads(path.read_text("utf-8")), seed, count):
        yield what, json.dumps(plain).encode()


def graph_changed(path: Path, seed: int, count: int) -> Mutants:
    """Values of a graph changed, in the canonical layout, so that its content is what is judged."""
    for what, plain in json_mutants(json.loads(path.read_text("utf-8")), seed, count):
        yield what, lay_out(plain).encode(errors="surrogatepass")


def lay_out(plain: object) -> str:
    """Return a graph's JSON in the canonical layout, whatever its values are."""

    def dump(value: object) -> str:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))

    def value_of(key: str, value: object) -> str:
        if key in {"ops", "tensors"} and isinstance(value, list):
            return "[\n" + ",\n".join(map(dump, value)) + "\n]"
        return dump(value)

    if not isinstance(plain, dict):
        return dump(plain)
    entries = [f"{dump(key)}: {value_of(key, value)}" for key, value in sorted(plain.items())]
    return "{\n" + ",\n".join(entries) + "\n}\n"


GRAPH_COMMANDS = (
    "inspect {}/graph",
    "simulate {}/graph --inputs {}/codes.npy --json",
    "cost {}/graph",
    "simulate {}/graph --data {}/few --json",
)
LOWER = ("lower {}/quantized --out {}/lowered", "lower {}/quantized -p ita_26b --out {}/lowered")
QUANTIZED = (*LOWER, "accumulators {}/quantized --data {}/few --limit 4 --bits 16,20 --out {}/acc")
WEIGHTS = (
    "quantize vit_nano_digits --weights {{}}/{} --calib-data {{}}/few --calib 4 "
    "--method base_ptq --out {{}}/q"
)
KINDS = (
    Kind(name="graph.json, values", file="graph/graph.json", mutants=graph_changed,
         commands=GRAPH_COMMANDS),
    Kind(name="graph.json, bytes", file="graph/graph.json", mutants=flipped,
         commands=GRAPH_COMMANDS),
    Kind(name="graph.safetensors, bytes", file="graph/graph.safetensors", mutants=flipped,
         commands=GRAPH_COMMANDS, sealed=True),
    Kind(name="quantized.json, values", file="quantized/quantized.json", mutants=values_changed,
         commands=QUANTIZED),
    Kind(name="quantized.json, bytes", file="quantized/quantized.json", mutants=flipped,
         commands=QUANTIZED),
    Kind(name="quantized.safetensors, bytes", file="quantized/quantized.safetensors",
         mutants=flipped, commands=LOWER, sealed=True),
    Kind(name="profile, lines", file="chip.toml", mutants=lines_changed,
         commands=("profiles validate {}/chip.toml", "profiles show {}/chip.toml",
                   "lower {}/quantized -p {}/chip.toml --out {}/lowered")),
    Kind(name="profile, bytes", file="chip.toml", mutants=flipped,
         commands=("profiles validate {}/chip.toml",
                   "lower {}/quantized -p {}/chip.toml --out {}/lowered")),
    Kind(name="weights.safetensors, bytes", file="weights.safetensors", mutants=flipped,
         commands=(WEIGHTS.format("weights.safetensors"),)),
    Kind(name="weights.pth, bytes", file="weights.pth", mutants=flipped,
         commands=(WEIGHTS.format("weights.pth"),)),
    Kind(name="image, bytes", file="few/0/0.png", mutants=flipped,
         commands=("simulate {}/graph --data {}/few --json",
                   "simulate {}/graph --data {}/few --json --skip-bad-images")),
    Kind(name="codes.npy, bytes", file="codes.npy", mutants=flipped,
         commands=("simulate {}/graph --inputs {}/codes.npy --json",)),
    Kind(name="run.json, values", file="run/run.json", mutants=values_changed,
         commands=("report {}/run --markdown", "compare {}/run --out {}/table",
                   "report {}/run --out {}/pages")),
    Kind(name="run.json, bytes", file="run/run.json", mutants=flipped,
         commands=("report {}/run --markdown", "compare {}/run --out {}/table")),
    Kind(name="layers.csv, lines", file="run/layers.csv", mutants=lines_changed,
         commands=("report {}/run --markdown", "report {}/run --out {}/pages")),
    Kind(name="layers.csv, bytes", file="run/layers.csv", mutants=flipped,
         commands=("report {}/run --markdown",)),
)  # fmt: skip


def prepare(demo: Path, root: Path) -> None:
    """Lay out one good file of every kind below ``root``."""
    import torch
    from safetensors.torch import save_file

    from aocq.zoo.models import load_model
    from simulator.profile import profile_paths

    for folder, names in (
        ("graph", ("graph.json", "graph.safetensors")),
        ("quantized", ("quantized.json", "quantized.safetensors")),
    ):
        (root / folder).mkdir(parents=True)
        for name in names:
            shutil.copy(demo / name, root / folder)
    shutil.copytree(demo, root / "run", ignore=shutil.ignore_patterns("data", ".work"))
    few_images(demo, root / "few")
    shutil.copy(profile_paths()["edge_npu_int8"], root / "chip.toml")
    text = (root / "chip.toml").read_text("utf-8").replace('"edge_npu_int8"', '"chip"', 1)
    (root / "chip.toml").write_text(text, "utf-8")
    state = load_model("vit_nano_digits").network.state_dict()
    save_file(state, root / "weights.safetensors")
    torch.save(state, root / "weights.pth")
    codes = np.random.default_rng(0).integers(-128, 128, (3, 3, 8, 8), np.int8)
    np.save(root / "codes.npy", codes)


def few_images(demo: Path, folder: Path) -> None:
    """Make a folder with two images of every digit, the first named ``0.png``."""
    for digit in sorted((demo / "data" / "val").iterdir()):
        (folder / digit.name).mkdir(parents=True)
        for number, path in enumerate(sorted(digit.iterdir())[:2]):
            shutil.copy(path, folder / digit.name / f"{number}.png")


def attack(demo: Path, root: Path, seed: int, count: int, only: str = "") -> Iterator[Tally]:
    """Spoil every kind of file ``count`` times and yield what came of it, kind by kind."""
    good = root / "good"
    prepare(demo, good)
    for kind in KINDS:
        if only in kind.name:
            yield _attack_kind(kind, good, root / "spoiled", seed, count)


def _attack_kind(kind: Kind, good: Path, work: Path, seed: int, count: int) -> Tally:
    tally = Tally(part=kind.name)
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(good, work)
    answers = {command: _answer(_run(command, work)) for command in kind.commands}
    before = _outside(work)
    for number, (what, content) in enumerate(kind.mutants(good / kind.file, seed, count)):
        command = kind.commands[number % len(kind.commands)]
        (work / kind.file).write_bytes(content)
        ended = _run(command, work)
        others = []
        if ended.code == 0 and kind.sealed and _answer(ended) != answers[command]:
            others.append("another answer from a damaged file")
        if _outside(work) != before:
            others.append("something was written beside the folder of the attack")
            before = _outside(work)
        tally.note(ended, f"{kind.name}, seed {seed}, number {number}: {what}", *others)
    return tally


def _run(command: str, work: Path) -> forked.Ended:
    for name in ("lowered", "acc", "q", "table", "pages"):
        shutil.rmtree(work / name, ignore_errors=True)
    return forked.run(*(part.replace("{}", str(work)) for part in command.split()))


def _answer(ended: forked.Ended) -> str:
    """What a command said on stdout, without what differs from run to run."""
    return hashlib.sha256(ended.out.encode(errors="surrogateescape")).hexdigest()


def _outside(work: Path) -> set[str]:
    """What lies beside and above the folder of an attack, where names that escape would lead."""
    return {
        str(path)
        for folder in (work.parent, work.parent.parent, Path("/tmp"))
        for path in folder.iterdir()
        if "escaped" in path.name or folder == work.parent
    }
