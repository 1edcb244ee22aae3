# SPDX-License-Identifier: Apache-2.0
"""A run as it comes out of a small ViT under plain min-max quantization: the stream collapses.

:func:`build` makes one as older records are, :func:`build_with_costs` one with every field.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from typing import Any

from PIL import Image

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult

Run = tuple[RunResult, list[LayerRow]]

# kind, name in its block, shape, MACs, weight bytes, SQNR against that of the stream
BLOCK = [
    ("layernorm", "norm1", "197x192", 0, 0, -0.5),
    ("matmul", "attn.qkv", "197x576", 21_786_624, 110_592, -1.5),
    ("slice", "attn.q", "197x192", 0, 0, None),
    ("slice", "attn.k", "197x192", 0, 0, None),
    ("slice", "attn.v", "197x192", 0, 0, None),
    ("transpose", "attn.heads", "3x197x64", 0, 0, None),
    ("matmul", "attn.scores", "3x197x197", 7_451_328, 0, -2.25),
    ("softmax", "attn.probs", "3x197x197", 0, 0, -3.0),
    ("matmul", "attn.out", "3x197x64", 7_451_328, 0, -2.0),
    ("matmul", "attn.proj", "197x192", 7_262_208, 36_864, -2.5),
    ("add", "add1", "197x192", 0, 0, 0.0),
    ("layernorm", "norm2", "197x192", 0, 0, -0.5),
    ("matmul", "mlp.fc1", "197x768", 29_048_832, 147_456, -1.0),
    ("lookup", "mlp.act", "197x768", 0, 0, -1.75),
    ("matmul", "mlp.fc2", "197x192", 29_048_832, 147_456, -2.125),
    ("add", "add2", "197x192", 0, 0, -1.0),
]
VECTOR_CYCLES = {"layernorm": 3, "softmax": 3, "lookup": 1, "add": 1, "mean": 1}


def _row(
    index: int, op: str, kind: str, shape: str, macs: int, weights: int, sqnr: float | None
) -> LayerRow:
    elements = 1
    for extent in shape.split("x"):
        elements *= int(extent)
    compute = macs // 200
    vector = elements * VECTOR_CYCLES.get(kind, 0) // 16
    dma = weights // 8
    cycles = max(compute + vector, dma)
    unsure = op.endswith("fc2")
    return LayerRow(
        index=index,
        op=op,
        kind=kind,
        shape=shape,
        type="u8" if kind == "softmax" else "s8",
        arithmetic="float32" if op.endswith("norm1") else "integer",
        macs=macs,
        weight_bytes=weights,
        cycles=cycles,
        compute_cycles=compute,
        vector_cycles=vector,
        dma_cycles=dma,
        stall_cycles=cycles - compute - vector,
        bound_by="dma" if dma > compute + vector else "compute" if macs else "vector",
        elements=400 * elements,
        saturated=index * index * 7 if kind == "add" and index > 3 else 0,
        overflowed=3 if op.endswith("1.mlp.fc2") else 0,
        accumulator_bits=22 if macs else None,
        proven_free=not unsure,
        sqnr_db=sqnr,
    )


def _rows(blocks: int) -> list[LayerRow]:
    ops: list[tuple[str, str, str, int, int, float | None]] = [
        ("image_patches", "reshape", "196x768", 0, 0, None),
        ("patch_embed.proj", "matmul", "196x192", 28_901_376, 147_456, 39.0625),
        ("cls_token_cat", "concat", "197x192", 0, 0, None),
        ("pos_embed_add", "add", "197x192", 0, 0, 36.5),
    ]
    stream = 30.0
    for block in range(blocks):
        for kind, name, shape, macs, weights, below in BLOCK:
            sqnr = None if below is None else stream + below
            ops.append((f"blocks.{block}.{name}", kind, shape, macs, weights, sqnr))
        stream = stream * 0.5 - 1.5
    ops += [
        ("norm", "layernorm", "197x192", 0, 0, stream - 1),
        ("pool", "slice", "1x192", 0, 0, None),
        ("head", "matmul", "1x1000", 192_000, 96_000, stream - 0.5),
    ]
    return [
        _row(i, op, kind, shape, macs, weights, sqnr)
        for i, (op, kind, shape, macs, weights, sqnr) in enumerate(ops)
    ]


def _counts(rows: list[LayerRow]) -> dict[str, object]:
    matmuls = [row for row in rows if row.accumulator_bits is not None]
    events = sorted(
        (row for row in rows if row.overflowed or row.saturated),
        key=lambda row: (-row.overflowed, -row.saturated),
    )
    return {
        "proven_free": sum(row.proven_free for row in matmuls),
        "counted_free": sum(not row.proven_free and not row.overflowed for row in matmuls),
        "overflowing": sum(row.overflowed > 0 for row in matmuls),
        "events": sum(row.overflowed for row in rows),
        "per_op": [
            {key: getattr(row, key) for key in ("op", "overflowed", "saturated", "elements")}
            for row in events
        ],
    }


def _cycles(rows: list[LayerRow]) -> dict[str, object]:
    kinds: Counter[str] = Counter()
    bounds: Counter[str] = Counter()
    for row in rows:
        kinds[row.kind] += row.cycles
        bounds[row.bound_by] += row.cycles
    return {
        "total": kinds.total(),
        "compute": sum(row.compute_cycles for row in rows),
        "vector": sum(row.vector_cycles for row in rows),
        "dma": sum(row.dma_cycles for row in rows),
        "stall": sum(row.stall_cycles for row in rows),
        "by_kind": dict(kinds),
        "bound_by": dict(bounds),
    }


def build(blocks: int = 2) -> Run:
    rows = _rows(blocks)
    cycles = _cycles(rows)
    total = sum(row.cycles for row in rows)
    result = RunResult.model_validate(
        {
            "command": ["aocq", "verify", "vit_tiny_patch16_224", "--data", "my images/val"],
            "seed": 0,
            "versions": {"aocq": "0.1.0", "python": "3.11.2", "numpy": "2.4.6", "torch": "2.13.0"},
            "emulation": {
                "seconds": 181.25,
                "images_per_second": 2.2069,
                "threads": 2,
                "gemm_backend": "onednn_int8",
            },
            "model": {
                "name": "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
                "checkpoint_sha256": "c0ffee" * 10 + "beef",
                "parameters": 5_717_416,
            },
            "method": {
                "name": "minmax",
                "weight_bits": 8,
                "activation_bits": 8,
                "recipe": {"alpha": None, "rounding": "nearest", "scales": {"weight": "channel"}},
                "calibration_images": 64,
                "seconds": 12.5,
            },
            "profile": {
                "name": "edge_npu_int8",
                "sha256": "0123456789abcdef" * 4,
                "title": "Generic edge NPU, 16 x 16 MACs, 32-bit accumulators",
                "clock_mhz": 500.0,
                "sources": {
                    "default": "assumed",
                    "compute.clock_mhz": "datasheet 2.1",
                    "memory.sram_bytes": "datasheet 2.1",
                    "memory.dram_bytes_per_cycle": "measured with a memory copy of 1 MiB",
                },
            },
            "graph": {
                "sha256": "fedcba9876543210" * 4,
                "ops": len(rows),
                "macs": sum(row.macs for row in rows),
                "float_ops": 0,
            },
            "accuracy": {
                "images": 400,
                "skipped_images": ["n01440764/broken.JPEG"],
                "float": {"top1": 82.75, "top5": 96.0},
                "simulated": {"top1": 0.5, "top5": 1.25},
                "integer": {"top1": 0.25, "top5": 1.5},
                "agreement": {"integer_float": 0.25, "integer_simulated": 87.5},
                "logit_sqnr_db": {
                    "integer_float": -0.6171875,
                    "simulated_float": -0.59375,
                    "integer_simulated": None,
                },
            },
            "overflow": _counts(rows),
            "memory": {
                "weight_bytes": sum(row.weight_bytes for row in rows),
                "model_size_bytes": 6_123_456,
                "peak_sram_bytes": 471_552,
                "peak_lower_bound_bytes": 453_888,
                "sram_bytes": 524_288,
                "dram_bytes": 5_898_240,
            },
            "cycles": cycles,
            "latency_ms": total / 500e3,
            "fps": 500e6 / total,
            "energy": {},
            "verdict": {
                "feasible": False,
                "failed": ["integer top-1 0.25 % < 70.00 %", "overflow: 3 events, 0 allowed"],
            },
        }
    )
    return result, rows


def _buffers(rows: list[LayerRow]) -> list[dict[str, Any]]:
    """Return a buffer for every result, alive from its op to the next but one, and a temporary."""
    found = []
    for row in rows:
        size = row.elements // 400
        at = {"first": row.index, "last": min(row.index + 2, rows[-1].index)}
        found.append(
            {
                **{"name": row.op, "op": row.op, "type": row.type, "bytes": size, **at},
                **{"offset": None if row.kind == "slice" else 4096 * (row.index % 3)},
                "storage": "activation",
            }
        )
        if row.kind == "softmax":
            found.append(
                {
                    **{"name": f"{row.op}.sums", "op": row.op, "type": "s32", "bytes": 4 * size},
                    **{"first": row.index, "last": row.index, "offset": 65536},
                    "storage": "temporary",
                }
            )
    return found


def shown_image(**changes: Any) -> dict[str, Any]:
    """Return the record of a gray image of 32 x 16 pixels, in which boxes were found."""
    buffer = io.BytesIO()
    Image.new("L", (32, 16), 90).save(buffer, "PNG")

    def box(name: str, left: float, score: float | None = None) -> dict[str, Any]:
        place = {"left": left, "top": 4.0, "right": left + 10, "bottom": 14.0}
        return {"name": name, **place, "score": score}

    fields = {
        **{"name": "0007.png", "differs": True, "width": 32, "height": 16},
        "media_type": "image/png",
        "content": base64.b64encode(buffer.getvalue()).decode(),
        "true_boxes": [box("bolt", 2.0)],
        "float_boxes": [box("bolt", 2.0, 0.93), box("wire", 20.0, 0.4)],
        "integer_boxes": [box("bolt", 3.0, 0.91)],
    }
    return fields | changes


def build_with_costs(blocks: int = 2) -> Run:
    """Return a run with ports, memory plan, energy, float16, lifts, caveats and pictures."""
    result, rows = build(blocks)
    plain = result.model_dump()
    total = plain["cycles"]["total"]
    plain["cycles"] |= {"issue": total // 50, "sram": total // 3, "host": 0}
    plain["data"] = {"name": "val", "classes": 1000, "images": 401, "digest": "da7a" * 16}
    plain["model"]["arguments"] = {"img_size": 224, "depth": 2}
    widths = {"operands": 8, "probabilities": 8, "vector": 8, "stream": 16, "ends": None}
    plain["method"]["widths"] = widths
    plain["ports"] = {
        "sram": {
            **{"bytes": 9_000_000, "cycles": total // 3, "bytes_per_cycle": 16.0},
            **{"burst_bytes": 16, "latency_cycles": 0},
        },
        "dram": {
            **{"bytes": 5_898_240, "cycles": total // 2, "bytes_per_cycle": 6.4},
            **{"burst_bytes": 64, "latency_cycles": 80},
        },
    }
    plain["buffers"] = _buffers(rows)
    softmax = next(row for row in rows if row.kind == "softmax")
    plain["peak"] = {
        "op": softmax.op,
        "bytes": 582_135,
        "buffers": [f"{softmax.op}.sums", softmax.op],
    }
    plain["memory"]["peak_sram_bytes"] = 582_135
    plain["energy_record"] = {
        **{"node_nm": 28.0, "total_mj": 1.25, "source": "assumed: an example"},
        "parts": {"mac": 0.25, "vector": 0.05, "sram": 0.2, "dram": 0.7, "leakage": 0.05},
    }
    plain["float16"] = {
        **{"weight_bytes": 11_434_832, "peak_sram_bytes": 943_104, "dram_bytes": 11_796_480},
        **{"cycles": 4 * total, "latency_ms": 4 * plain["latency_ms"], "energy_mj": 4.5},
    }
    plain["lifts"] = [
        {
            **{"resource": "sram_bytes", "have": 524_288, "need": 582_144, "gate": "fits_sram"},
            **{"latency_ms": plain["latency_ms"], "peak_sram_bytes": 582_135},
        },
        {
            **{"resource": "dram_bytes_per_cycle", "have": 6.4, "need": 12.8, "gate": None},
            **{"latency_ms": plain["latency_ms"] * 0.75, "peak_sram_bytes": 582_135},
        },
    ]
    plain["distributions"] = [
        {
            **{"op": row.op, "least": -1.5 - row.index / 20, "most": 1.25},
            **{"quantiles": [-0.5, -0.25, -0.125, 0.0, 0.125, 0.25, 0.5]},
            **({"low": -1.0, "high": 1.0} if row.kind != "softmax" else {}),
        }
        for row in rows
        if row.sqnr_db is not None
    ]
    plain["caveats"] = [
        {"about": "matmul", "text": "Another estimator expects a hundred times as many cycles."},
        {"about": "memory", "text": "The chip's own buffers are not counted."},
        {"about": "energy", "text": "A table of another process."},
        {"about": "accuracy", "text": "The order of sums is assumed."},
        {"about": "latency", "text": "Nobody measured this chip."},
    ]
    images = [shown_image(name=f"{place:04d}.png", differs=place > 1) for place in range(3)]
    plain["shown"] = {"least_score": 0.3, "among": 400, "images": images}
    return RunResult.model_validate(plain), rows
