# SPDX-License-Identifier: Apache-2.0
"""``aocq lower``: a quantized model as integers for one profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from aocq.cli import options


def command(
    folder: Annotated[Path, typer.Argument(help="folder that aocq quantize or verify wrote")],
    profile: options.Profile = "edge_npu_int8",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for the graph (default: the same)")
    ] = None,
) -> None:
    """Lower a quantized model for a profile and write graph.json and graph.safetensors.

    Prints the graph's sha256 on stdout. Next: aocq inspect OUT, aocq simulate OUT --data DIR
    """
    from aocq import progress
    from aocq.lowering import lower
    from aocq.methods import storage
    from aocq.records.publishing import claimed, publish, refuse_blocked, staging
    from aocq.records.run_folder import refuse_run_folder
    from simulator.graph import save
    from simulator.graph.storage import JSON_NAME, TENSORS_NAME
    from simulator.profile import load_profile

    target = out or folder
    model = storage.load(folder)
    with claimed(target, progress.note):
        refuse_run_folder(target)
        refuse_blocked(target, (JSON_NAME, TENSORS_NAME))
        chip = load_profile(profile)
        graph = lower(model, chip)
        held, possible = model.limits.residual_bits, chip.activation.residual_bits
        if held < possible:
            progress.note(
                f"the residual stream has {held} bits, as the network was quantized; profile "
                f"{chip.name} has room for {possible}: quantize for it to use them"
            )
        sha256 = save(graph, staging(target))
        publish(target, "lower", sha256)
    print(sha256)
    print(f"graph: {target}", file=sys.stderr)
