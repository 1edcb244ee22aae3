# SPDX-License-Identifier: Apache-2.0
"""The record of a run beside its figures: the images that it evaluated."""

from __future__ import annotations

from pathlib import Path

from families.swin import STATED

from aocq.capture import capture
from aocq.capture.float_graph import FloatOp
from aocq.data.image_folder import LabelledImage
from aocq.jobs.record import data_record, with_sums_of_stream
from aocq.records.layers import LayerRow
from aocq.zoo.models import random_model


def _listing(folder: Path, content: bytes) -> list[LabelledImage]:
    images = []
    for label, name in enumerate(("cat", "dög")):
        path = folder / name / "1.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(content * (label + 1))
        images.append(LabelledImage(path=path, label=label))
    return images


def test_the_same_images_in_another_place_are_the_same_data(tmp_path: Path) -> None:
    here, there = tmp_path / "a" / "val", tmp_path / "b" / "val"
    found = data_record(here, _listing(here, b"x"), 10)
    assert (found.name, found.classes, found.images) == ("val", 10, 2)
    assert data_record(there, _listing(there, b"y"), 10) == found  # sizes, not contents


def test_other_sizes_labels_or_files_are_other_data(tmp_path: Path) -> None:
    images = _listing(tmp_path, b"x")
    digests = {data_record(tmp_path, images, 10).digest}
    digests.add(data_record(tmp_path, images[:1], 10).digest)
    digests.add(data_record(tmp_path, images[::-1], 10).digest)
    relabelled = [LabelledImage(path=image.path, label=5) for image in images]
    digests.add(data_record(tmp_path, relabelled, 10).digest)
    images[0].path.write_bytes(b"more")
    digests.add(data_record(tmp_path, images, 10).digest)
    images[0].path.unlink()  # decoding will report it
    digests.add(data_record(tmp_path, images, 10).digest)
    assert len(digests) == 6


def test_sums_of_the_stream_are_marked_and_those_of_scores_are_not() -> None:
    """Swin adds positions and masks to its scores: additions, but none of the stream."""
    (example,) = STATED.examples
    arguments = dict(example.arguments)
    model = random_model(example.model, arguments.pop("num_classes"), arguments=arguments)
    graph = capture(model.network, example.model, model.input_size)
    nothing = dict.fromkeys(
        ("macs", "weight_bytes", "cycles", "compute_cycles", "vector_cycles", "dma_cycles"), 0
    )
    rows = [
        LayerRow.model_validate(
            {
                **{"index": index, "op": node.name, "kind": node.op.value.lower(), "shape": "1"},
                **{"type": "s8", "bound_by": "vector", "stall_cycles": 0, **nothing},
                **{"elements": 1, "saturated": 0, "overflowed": 0, "proven_free": True},
                **{"accumulator_bits": None, "sqnr_db": None},
            }
        )
        for index, node in enumerate(graph.nodes)
    ]
    added = {node.name for node in graph.nodes if node.op is FloatOp.ADD}
    marked = {row.op for row in with_sums_of_stream(rows, graph) if row.onto_residual}
    blocks = [f"layers.{stage}.blocks.{block}" for stage in range(2) for block in range(2)]
    assert marked == {f"{block}.{name}" for block in blocks for name in ("add", "add_1")}
    assert {f"{block}.attn.add" for block in blocks} <= added - marked
