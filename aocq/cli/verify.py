# SPDX-License-Identifier: Apache-2.0
"""``aocq verify``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import gates, options, recipes, requests

if TYPE_CHECKING:
    from aocq.jobs.request import VerifyRequest
    from aocq.records.run import RunResult


def command(
    model: options.Model,
    data: options.Data,
    profile: options.Profile = "edge_npu_int8",
    method: recipes.Method = recipes.DEFAULT_METHOD,
    weight_bits: recipes.WeightBits = 8,
    activation_bits: recipes.ActivationBits = 8,
    weights: options.Weights = None,
    classes: options.Classes = None,
    model_kwargs: options.ModelKwargs = None,
    preprocessing: options.Preprocessing = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calib-data", help="folder of calibration images (default: the images of --data)"
        ),
    ] = None,
    calibration_images: recipes.CalibrationImages = None,
    activation_range: recipes.ActivationRange = recipes.RangeSearch.MINMAX,
    weight_range: recipes.WeightRange = recipes.RangeSearch.MSE,
    float_ops: recipes.FloatOpsOption = recipes.FloatOps.DECLARED,
    limit: options.Limit = None,
    batch: options.Batch = 32,
    skip_bad_images: options.SkipBadImages = False,
    seed: recipes.Seed = 0,
    preset: recipes.PresetOption = recipes.Preset.DEFAULT,
    alpha: recipes.AlphaOption = None,
    alpha_sharing: recipes.AlphaSharingOption = None,
    balance_inputs: recipes.BalanceInputs = None,
    scale_passes: recipes.ScalePasses = None,
    rounding: recipes.RoundingOption = None,
    loss: recipes.LossOption = None,
    norm_exponent: recipes.NormExponent = None,
    loss_channels: recipes.LossChannelsOption = None,
    class_token_weight: recipes.ClassTokenWeight = None,
    device: recipes.DeviceOption = recipes.Device.CPU,
    threads: options.Threads = None,
    gemm: options.Gemm = "auto",
    max_drop: gates.MaxDrop = 5.0,
    min_agreement: gates.MinAgreement = None,
    max_latency_ms: gates.MaxLatency = None,
    out: options.Out = Path("runs/verify"),
    as_json: options.Json = False,
) -> None:
    """Quantize, lower, emulate, cost and report one network on one profile.

    Writes run.json, layers.csv, report.html, report.md, the quantized model and the integer graph
    into --out. An interrupted run goes on where it stopped when the same command is given again.
    A finished run in --out that answers the same request is not made again: it is judged by the
    gates that are given now.

    Example: aocq verify deit_tiny_patch16_224 --data imagenet/val --calib-data imagenet/train
    --w-bits 8 --profile edge_npu_int8 --out runs/deit --max-drop 1
    """
    from aocq import progress
    from aocq.records.gates import Gates
    from aocq.records.publishing import claimed

    with claimed(out, progress.note):
        request = requests.make_request(
            model=model,
            data=data,
            weights=weights,
            classes=classes,
            model_kwargs=model_kwargs,
            preprocessing=preprocessing,
            profile=profile,
            method=method,
            recipe=recipes.make_recipe(
                method=method,
                weight_bits=weight_bits,
                activation_bits=activation_bits,
                activation_range=activation_range,
                weight_range=weight_range,
                float_ops=float_ops,
                seed=seed,
                preset=preset,
                alpha=alpha,
                alpha_sharing=alpha_sharing,
                balance_inputs=balance_inputs,
                scale_passes=scale_passes,
                rounding=rounding,
                loss=loss,
                norm_exponent=norm_exponent,
                loss_channels=loss_channels,
                class_token_weight=class_token_weight,
            ),
            calibration=calibration,
            calibration_images=calibration_images,
            preset=preset,
            limit=limit,
            batch=batch,
            skip_bad_images=skip_bad_images,
            threads=threads,
            gemm=gemm,
            gates=Gates(
                max_drop=max_drop, min_agreement=min_agreement, max_latency_ms=max_latency_ms
            ),
            device=device,
            out=out,
        )
        run_and_report(request, as_json=as_json)


def run_and_report(request: VerifyRequest, *, as_json: bool) -> None:
    """Do the job and its report in a claimed folder, print the summary, exit with 1 on a no."""
    from aocq import progress
    from aocq.jobs import verify as pipeline
    from reports.tables import ENOUGH_AGREEMENT, mismatch_sentence
    from reports.write import PAGE_NAME, write_report

    result, rows = pipeline.verify(request, progress.show, progress.note, draw=write_report)
    if request.calibration_folder == request.data_folder:
        print(
            "note: calibrated on images of --data itself; scales have seen what they are judged "
            "on (--calib-data FOLDER keeps the two apart)",
            file=sys.stderr,
        )
    if as_json:
        print(result.to_json(), end="")
    else:
        print_summary(result)
    for path in result.accuracy.skipped_images:
        print(f"skipped: {path} cannot be decoded", file=sys.stderr)
    if result.accuracy.agreement.integer_simulated < ENOUGH_AGREEMENT:
        print(f"note: {mismatch_sentence(result, rows)}", file=sys.stderr)
    print(f"report: {request.out / PAGE_NAME}", file=sys.stderr)
    gates.exit_if_failed(result)


def print_summary(result: RunResult) -> None:
    """Print the short table of a run on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from reports.tables import summary_rows
    from simulator.control_characters import escaped

    table = Table(show_header=False, box=None, pad_edge=False)
    for label, value in summary_rows(result):
        table.add_row(Text(label, style="dim"), Text(escaped(value)))
    Console().print(table)
