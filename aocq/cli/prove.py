# SPDX-License-Identifier: Apache-2.0
"""``aocq prove``: which registers no input can overflow, and of the rest the closest input."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aocq.cli import options
from aocq.cli.console import print_columns

if TYPE_CHECKING:
    from simulator.graph import IntGraph
    from simulator.proof import Nearest, ValueProof, Widths

HEAD = ("op", "value", "bound", "needs", "register", "stated by", "slack", "proven", "closest")


def command(
    graph: Annotated[Path, typer.Argument(help="run folder, graph.json, or the folder it is in")],
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            "-p",
            help="hardware profile whose registers are looked at (default: the graph's own)",
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="file for a certificate (JSON) that a reviewer can recompute"
        ),
    ] = None,
    inputs_out: Annotated[
        Path | None,
        typer.Option(
            "--inputs-out",
            help="folder for the inputs that come closest to overflow, .npy, with an index.json",
        ),
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all", help="also values whose register nobody states: the emulator's 64 bits"
        ),
    ] = False,
    require_proven: Annotated[
        bool,
        typer.Option(
            "--require-proven", help="exit with 1 if an input may overflow a register, or one does"
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Hold every accumulator and every value inside an op against its register. Needs no torch.

    A bound is what no input whatever exceeds. Of what is not proven, the input that comes closest
    is made, and what it attains is said: for a layer with weights that is the bound itself.

    Example: aocq prove runs/demo --out certificate.json --inputs-out inputs
    """
    from aocq import progress
    from simulator.graph import load
    from simulator.proof import nearest_input, prove, unproven

    loaded = load(graph)
    widths = widths_of(graph, loaded, profile)
    proofs = prove(loaded, widths)
    missing = unproven(proofs)
    closest: dict[ValueProof, Nearest] = {}
    if missing:
        with progress.show("look for inputs that overflow", len(missing)) as advance:
            for found in missing:
                nearest = nearest_input(loaded, found)
                if nearest is not None:
                    closest[found] = nearest
                advance(1)
    if certificate is not None:
        _write_certificate(certificate, loaded, proofs)
    if inputs_out is not None:
        _write_inputs(inputs_out, loaded, missing, closest)
    if as_json:
        _print_json(loaded, proofs, closest)
    else:
        _print_table(proofs, closest, every=every)
    if require_proven and missing:
        print(f"gate failed: {len(missing)} of {len(proofs)} values not proven", file=sys.stderr)
        raise typer.Exit(1)


def widths_of(path: Path, graph: IntGraph, profile: str | None) -> Widths:
    """Return the registers that a profile states: the one named, or else the graph's own.

    Of a profile that is not a shipped one, nothing is known without its file; that is noted.
    """
    from aocq import progress
    from aocq.records.run_folder import RUN_NAME
    from simulator.profile import load_profile, profile_paths

    if profile is not None:
        return load_profile(profile).register_widths
    if graph.profile not in profile_paths():
        progress.note(
            f"profile {graph.profile} is not a shipped one: its [registers], if it has any, are "
            "not looked at; pass its file with --profile"
        )
        return {}
    own = load_profile(graph.profile)
    made_with = _profile_of_run(path / RUN_NAME if path.is_dir() else path.with_name(RUN_NAME))
    if made_with not in {None, own.sha256()}:
        progress.note(
            f"the run was made with another profile of the name {graph.profile}; pass its file "
            "with --profile if its [registers] are other ones"
        )
    return own.register_widths


def _profile_of_run(record: Path) -> str | None:
    """Return the sha256 of the profile that a run names; None where there is no record."""
    from aocq.records.run_folder import load_run

    return load_run(record.parent)[0].profile.sha256 if record.is_file() else None


def _rows(
    proofs: Sequence[ValueProof], closest: Mapping[ValueProof, Nearest], every: bool
) -> list[tuple[str, ...]]:
    shown = [found for found in proofs if every or found.stated or not found.proven]
    shown.sort(key=lambda found: found.proven)  # stable: otherwise in order of computation
    return [
        (
            found.op,
            found.place,
            f"{found.interval[0]:,} .. {found.interval[1]:,}",
            str(found.needed_bits),
            str(found.register.kind),
            str(found.register.stated_by),
            str(found.slack),
            "yes" if found.proven else "NO",
            _closest_text(found, closest.get(found)),
        )
        for found in shown
    ]


def _closest_text(found: ValueProof, nearest: Nearest | None) -> str:
    if nearest is None:
        return ""
    verb = "overflows" if nearest.overflows(found) else "fits"
    return f"{nearest.attained:,} {verb}"


def summary(proofs: Sequence[ValueProof], closest: Mapping[ValueProof, Nearest]) -> str:
    """Return the result in one sentence."""
    sums = [found for found in proofs if found.value == "accumulator"]
    missing = [found for found in proofs if not found.proven]
    attained = sum(
        nearest.overflows(found) for found in missing if (nearest := closest.get(found)) is not None
    )
    proven = sum(found.proven for found in sums)
    text = (
        f"{proven} of {len(sums)} accumulator levels and {len(proofs) - len(missing)} of "
        f"{len(proofs)} values in all are proven: no input overflows them"
    )
    if missing:
        text += f"; {attained} of the other {len(missing)} overflow on an input that was found"
    return text


def _print_table(
    proofs: Sequence[ValueProof], closest: Mapping[ValueProof, Nearest], *, every: bool
) -> None:
    print_columns(HEAD, _rows(proofs, closest, every))
    print(summary(proofs, closest))


def _plain(found: ValueProof, nearest: Nearest | None) -> dict[str, Any]:
    if nearest is None:
        return found.plain()
    attained = {"attained": nearest.attained, "overflows": nearest.overflows(found)}
    return found.plain() | attained


def _print_json(
    graph: IntGraph, proofs: Sequence[ValueProof], closest: Mapping[ValueProof, Nearest]
) -> None:
    from simulator import strict_json
    from simulator.graph.storage import sha256

    values = [_plain(found, closest.get(found)) for found in proofs]
    about = {"name": graph.name, "profile": graph.profile, "sha256": sha256(graph)}
    print(strict_json.dumps({"graph": about, "values": values}, indent=2))


def _write_certificate(path: Path, graph: IntGraph, proofs: Sequence[ValueProof]) -> None:
    from simulator import strict_json
    from simulator.files import write_text
    from simulator.proof import certificate

    path.parent.mkdir(parents=True, exist_ok=True)
    made = certificate(graph, proofs)
    write_text(path, strict_json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _write_inputs(
    folder: Path,
    graph: IntGraph,
    missing: Sequence[ValueProof],
    closest: Mapping[ValueProof, Nearest],
) -> None:
    """Write what comes closest to each unproven value, and an index that says which is which."""
    import numpy as np

    from aocq import progress
    from aocq.records.publishing import claimed, publish, staging
    from simulator import strict_json
    from simulator.files import replace_file, write_text
    from simulator.graph.storage import sha256

    with claimed(folder, progress.note):
        complete = staging(folder)
        index = []
        for number, found in enumerate(missing):
            nearest = closest.get(found)
            if nearest is None:
                continue
            files = {}
            for name, codes in nearest.operands.items():
                files[name] = f"{number:03}.{found.op}.{found.value}.{name}.npy"
                with replace_file(complete / files[name]) as temporary, temporary.open("wb") as to:
                    np.save(to, codes, allow_pickle=False)
            run_alone = _arguments(graph, found.op, files)
            index.append({**_plain(found, nearest), "inputs": files, "simulate": run_alone})
        write_text(complete / "index.json", strict_json.dumps(index, indent=1) + "\n")
        publish(folder, "prove", sha256(graph))


def _arguments(graph: IntGraph, name: str, files: Mapping[str, str]) -> list[str]:
    """Return what ``aocq simulate RUN`` is given to run an op alone on these files."""
    op = next(op for op in graph.ops if op.name == name)
    found = ["--op", name]
    for field in op.operand_fields:
        operand = getattr(op, field)
        if operand in files:
            found += ["--inputs", f"{field}={files[operand]}"]
    return found
