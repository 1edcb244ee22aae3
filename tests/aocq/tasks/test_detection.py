# SPDX-License-Identifier: Apache-2.0
"""Detection: COCO folders, outputs of a dense head, AP and agreement."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from aocq.data import coco as coco_files
from aocq.data.coco import read_coco_folder
from aocq.data.image_folder import LabelledImage
from aocq.tasks import detection, patch_grid
from aocq.tasks.boxes import BOX_VALUES, Detections, detections
from aocq.tasks.coco_scores import average_precision, coco_results
from aocq.tasks.task import Dataset, task_of
from simulator.errors import InputError

SIDE, PATCH = 4, 16
PIXELS = SIDE * PATCH
SIZE = (PIXELS, PIXELS)
WHOLE = {"input_size": (3, 224, 224), "crop_pct": 1.0, "crop_mode": "squash"}


def coco(images: int = 3) -> dict[str, Any]:
    """Two classes, one box an image, in images twice as wide as the network's."""
    boxes = [(8.0 * number, 16.0, 60.0, 24.0) for number in range(images)]
    return {
        "info": {"year": 2026},
        "images": [
            {"id": 7 + n, "file_name": f"{n}.png", "width": 2 * PIXELS, "height": PIXELS}
            for n in range(images)
        ],
        "annotations": [
            {
                "id": n + 1,
                "image_id": 7 + n,
                "category_id": (5, 3)[n % 2],
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for n, box in enumerate(boxes)
        ],
        "categories": [{"id": 5, "name": "bolt"}, {"id": 3, "name": "wire"}],
    }


def folder_with(found: Any, folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    for image in found.get("images", []) if isinstance(found, dict) else []:
        if image["width"] and "/" not in image["file_name"]:
            size = (image["width"], image["height"])
            Image.new("RGB", size).save(folder / "images" / image["file_name"])
    (folder / "annotations.json").write_text(json.dumps(found), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_with(coco(), tmp_path / "data")


def read(folder: Path, outputs: int = 2 + BOX_VALUES) -> Dataset:
    return task_of("detection").read(folder, outputs, lambda text: None)


def perfect(dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Outputs of a network that finds every box, and the images' ids."""
    truth = dataset.truth.truth
    numbers = {c.id: n for n, c in enumerate(dataset.truth.categories)}
    outputs = np.full((len(truth.images), 1 + SIDE * SIDE, 2 + BOX_VALUES), -9.0)
    for row, box in zip(outputs, truth.annotations, strict=True):
        left, top, width, height = box.bbox
        left, width = left / 2, width / 2  # the network sees the image squeezed
        across, down = left + width / 2, top + height / 2
        column, line = int(across // PATCH), int(down // PATCH)
        centre = ((column + 0.5) * PATCH, (line + 0.5) * PATCH)
        right, bottom = left + width, top + height
        distances = (
            *(centre[0] - left, centre[1] - top),
            *(right - centre[0], bottom - centre[1]),
        )
        token = row[1 + line * SIDE + column]
        token[numbers[box.category_id]] = token[2] = 9.0
        token[3:] = np.log(np.array(distances) / PATCH)
    return outputs, np.array([image.id for image in truth.images])


# --- folders --------------------------------------------------------------------------------------


def test_images_are_those_of_the_annotations_with_their_ids(folder: Path) -> None:
    found = read(folder)
    assert [image.label for image in found.images] == [7, 8, 9]
    assert [image.path for image in found.images] == [
        folder / "images" / f"{number}.png" for number in range(3)
    ]
    assert found.classes == 2
    assert [category.name for category in found.truth.categories] == ["wire", "bolt"]
    assert read(folder).digest == found.digest
    changed = coco()
    changed["annotations"][0]["bbox"] = (1.0, 1.0, 5.0, 5.0)
    (folder / "annotations.json").write_text(json.dumps(changed), encoding="utf-8")
    assert read(folder).digest != found.digest


def test_images_may_stand_beside_the_annotations(folder: Path) -> None:
    for image in (folder / "images").iterdir():
        image.rename(folder / image.name)
    (folder / "images").rmdir()
    assert read(folder).images[0].path == folder / "0.png"


def changed(change: Callable[[dict[str, Any]], Any]) -> Any:
    plain = coco()
    return change(plain) or plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: [1], "Input should be"),
        (lambda plain: {"images": []}, "annotations: Field required"),
        (lambda plain: plain["images"].clear(), "names no images"),
        (lambda plain: plain["images"][1].update(id=7), "image id 7 is there 2 times"),
        (lambda plain: plain["categories"][1].update(id=5), "category id 5 is there 2 times"),
        (lambda plain: plain["annotations"][0].update(image_id=1), "no image has the id 1"),
        (lambda plain: plain["annotations"][0].update(category_id=9), "no category has id 9"),
        (lambda plain: plain["annotations"][0].update(bbox=[1, 2]), r"annotations.0.bbox.2"),
        (lambda plain: plain["annotations"][0].update(bbox=[1, 2, -3, 4]), r"annotations.0.bbox.2"),
        (lambda plain: plain["images"][0].update(id=2**63), "images.0.id"),
        (lambda plain: plain["images"][0].update(width=0), "images.0.width"),
        (lambda plain: plain["images"][0].update(file_name="../x.png"), "outside of its folder"),
        (lambda plain: plain["images"][0].update(file_name="/x.png"), "outside of its folder"),
    ],
)
def test_annotations_that_cannot_be_read_are_refused(
    change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    folder = folder_with(changed(change), tmp_path / "data")
    with pytest.raises(InputError, match=message) as caught:
        read(folder)
    assert "annotations.json" in str(caught.value)


def test_a_folder_without_annotations_and_a_head_of_another_size_are_refused(
    folder: Path,
) -> None:
    with pytest.raises(InputError, match="pass --num-classes 7"):
        read(folder, 1000)
    (folder / "annotations.json").write_bytes(b"{")
    with pytest.raises(InputError, match="is no JSON"):
        read(folder)
    (folder / "annotations.json").unlink()
    with pytest.raises(InputError, match=r"has no annotations\.json"):
        read(folder)


# --- outputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 17), (0, 0, 17), (163, 17), (7, 6, 17), (17,)])
def test_other_outputs_have_no_grid(shape: tuple[int, ...]) -> None:
    assert patch_grid.grid_of(shape) is None


@pytest.mark.parametrize(
    ("shape", "prefix", "side"),
    [((197, 17), 1, 14), ((196, 17), 0, 14), ((200, 17), 4, 14), ((7, 7, 17), 0, 7)],
)
def test_patches_are_behind_the_prefix_tokens(
    shape: tuple[int, ...], prefix: int, side: int
) -> None:
    detection.TASK.check("net", shape, WHOLE)
    assert patch_grid.grid_of(shape) == patch_grid.Grid(prefix, side)
    outputs = np.arange(2 * np.prod(shape), dtype=np.float64).reshape(2, *shape)
    found = patch_grid.patch_values(outputs)
    assert found.shape == (2, side, side, 17)
    assert (found[0, 0, 0] == outputs[0].reshape(-1, 17)[prefix]).all()
    assert (found[1, -1, -1] == outputs[1].reshape(-1, 17)[-1]).all()


@pytest.mark.parametrize("shape", [(1000,), (197, 5), (7, 6, 17), (2, 7, 7, 17)])
def test_outputs_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="detection"):
        detection.TASK.check("net", shape, WHOLE)


@pytest.mark.parametrize(
    "changes",
    [{"input_size": (3, 224, 320)}, {"input_size": (3, 230, 230)}],
)
def test_patches_that_are_no_square_of_whole_ones_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="every patch of a square"):
        detection.TASK.check("net", (197, 17), {**WHOLE, **changes})


@pytest.mark.parametrize("changes", [{"crop_pct": 0.9}, {"crop_mode": "center"}])
def test_parts_of_images_are_refused(changes: dict[str, Any]) -> None:
    (key,) = changes
    with pytest.raises(InputError, match=f"leave {key} out"):
        detection.TASK.check("net", (197, 17), {**WHOLE, **changes})


def test_classification_refuses_a_dense_head() -> None:
    task_of("classification").check("net", (1000,), WHOLE)
    with pytest.raises(InputError, match="choose another --task"):
        task_of("classification").check("net", (197, 17), WHOLE)


def test_a_patch_is_what_size_and_grid_say() -> None:
    values = np.zeros((1, 8, 8, 7))
    assert [detection.patch_of(values, size) for size in ((64, 64), (128, 128))] == [8, 16]


# --- judgement ------------------------------------------------------------------------------------


def test_a_network_that_finds_every_box_has_an_ap_of_100(folder: Path) -> None:
    dataset = read(folder)
    outputs, labels = perfect(dataset)
    blind = np.full_like(outputs, -9.0)
    found = detection.TASK.judge(
        {"float": outputs, "simulated": outputs, "integer": blind}, labels, dataset, SIZE
    )
    assert found.scores["float"] == pytest.approx({"ap": 100, "ap50": 100, "ap75": 100})
    assert found.scores["integer"]["ap50"] < 1
    assert (found.agreement.integer_float, found.paired) == (0.0, None)
    assert found.sqnr.simulated_float is None
    same = detection.TASK.judge(
        {"float": outputs, "simulated": outputs, "integer": outputs}, labels, dataset, SIZE
    )
    assert same.agreement.integer_float == 100


def test_what_the_class_token_yields_counts_for_nothing(folder: Path) -> None:
    dataset = read(folder)
    outputs, labels = perfect(dataset)
    noisy = outputs.copy()
    noisy[:, 0] += 100
    found = detection.TASK.judge(
        {"float": outputs, "simulated": outputs, "integer": noisy}, labels, dataset, SIZE
    )
    assert found.sqnr.integer_float is None
    assert found.scores["integer"] == found.scores["float"]


def test_ap_is_that_of_pycocotools_on_a_file_of_the_same_detections(
    folder: Path, tmp_path: Path
) -> None:
    """The metric as its users call it, from files, on images that are but some of the folder's."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = read(folder)
    outputs, labels = perfect(dataset)
    outputs += np.random.default_rng(3).normal(0, 0.2, outputs.shape)
    values = patch_grid.patch_values(outputs)[:2]
    found = {int(i): detections(v, PATCH) for i, v in zip(labels, values, strict=False)}
    size = (PIXELS, PIXELS)
    results = tmp_path / "results.json"
    results.write_text(json.dumps(coco_results(found, size, dataset.truth)), encoding="utf-8")
    truth = COCO(str(folder / "annotations.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
    evaluation.params.imgIds = sorted(found)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    wanted = dict(zip(("ap", "ap50", "ap75"), 100 * evaluation.stats[:3], strict=True))
    assert average_precision(found, size, dataset.truth) == wanted
    assert 1 < wanted["ap"] < 100


NONE = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), np.zeros(0, int))


def test_without_a_detection_ap_is_0(folder: Path) -> None:
    truth = read_coco_folder(folder)
    assert set(average_precision({7: NONE}, (PIXELS, PIXELS), truth).values()) == {0.0}


def test_images_without_a_box_are_no_evidence(folder: Path) -> None:
    dataset = read(folder)
    outputs, _ = perfect(dataset)
    engines = dict.fromkeys(("float", "simulated", "integer"), outputs[:1])
    with pytest.raises(InputError, match="none of the 1 images to evaluate has a box"):
        detection.TASK.judge(engines, np.array([99]), dataset, SIZE)


def test_whether_chosen_images_have_a_box_is_known_before_they_are_run(folder: Path) -> None:
    dataset = read(folder)
    boxes = {box.image_id for box in dataset.truth.truth.annotations}
    detection.TASK.check_images(dataset, [i for i in dataset.images if i.label in boxes][:1])
    without = [LabelledImage(path=folder / "x.png", label=99)]
    with pytest.raises(InputError, match=r"annotations\.json: none of.*--limit.*--data"):
        detection.TASK.check_images(dataset, without)


def test_a_size_that_the_file_has_not_is_told_before_anything_runs(folder: Path) -> None:
    dataset = read(folder)
    boxes = {box.image_id for box in dataset.truth.truth.annotations}
    image = next(each for each in dataset.images if each.label in boxes)
    said = next(each for each in dataset.truth.truth.images if each.id == image.label)
    image.path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (said.width, said.height)).save(image.path)
    detection.TASK.check_images(dataset, [image])
    Image.new("RGB", (said.height, said.width + 1)).save(image.path)
    wanted = f"have {said.width} x {said.height} pixels, but .* {said.height} x {said.width + 1};"
    with pytest.raises(InputError, match=wanted):
        detection.TASK.check_images(dataset, [image])
    image.path.write_bytes(b"damaged")  # decoding will tell
    detection.TASK.check_images(dataset, [image])


def test_one_network_is_judged_as_three_are(folder: Path) -> None:
    dataset = read(folder)
    outputs, labels = perfect(dataset)
    worse = outputs + np.random.default_rng(3).normal(0, 2, outputs.shape)
    engines = {"float": outputs, "simulated": outputs, "integer": worse}
    found = detection.TASK.judge(engines, labels, dataset, SIZE)
    assert detection.TASK.judge_one(worse, labels, dataset, SIZE) == found.scores["integer"]
    alike = detection.TASK.agreement(outputs, worse, SIZE)
    assert alike == found.agreement.integer_float != 100


@pytest.mark.parametrize("ids", [(0, 1, 2), (5, 5, 5)])
def test_ids_of_annotations_change_nothing(ids: tuple[int, ...], tmp_path: Path) -> None:
    """pycocotools takes id 0 for no match."""
    plain = coco()
    for number, box in zip(ids, plain["annotations"], strict=True):
        box["id"] = number
    dataset = read(folder_with(plain, tmp_path / "data"))
    outputs, labels = perfect(dataset)
    found = detection.TASK.judge(
        dict.fromkeys(("float", "simulated", "integer"), outputs), labels, dataset, SIZE
    )
    assert found.scores["float"]["ap"] == pytest.approx(100)


def of_score(*scores: float) -> Detections:
    count = len(scores)
    boxes = np.array([[0.0, 0.0, 9.0, 9.0]] * count) + 10 * np.arange(count)[:, None]
    return Detections(boxes, np.array(scores), np.zeros(count, int), np.arange(count))


@pytest.mark.parametrize(
    ("reference", "other", "share"),
    [
        (of_score(0.9, 0.4), of_score(0.9, 0.2), 100.0),  # a little less sure is the same
        (of_score(0.9, 0.4), of_score(0.9, 0.1), 50.0),
        (of_score(0.9, 0.2), of_score(0.9), 100.0),  # what nobody sees is not missed
        (of_score(0.2), of_score(0.2), 100.0),
        (of_score(0.2), of_score(0.5), 0.0),  # nothing to find, and something is found
        (NONE, NONE, 100.0),
    ],
)
def test_detections_that_a_picture_shows_are_looked_for(
    reference: Detections, other: Detections, share: float
) -> None:
    assert detection.share_matched({1: reference}, {1: other}) == share


def test_boxes_come_back_to_the_pixels_of_the_image(folder: Path) -> None:
    found = Detections(
        np.array([[1.0, 2.0, 11.0, 22.0]]), np.array([0.5]), np.array([1]), np.array([0])
    )
    (result,) = coco_results({8: found}, (PIXELS, PIXELS), read_coco_folder(folder))
    assert result == {
        "image_id": 8,
        "category_id": 5,
        "bbox": [2.0, 2.0, 20.0, 20.0],
        "score": 0.5,
    }


def test_annotations_are_parsed_once_until_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    loads = coco_files.loads
    monkeypatch.setattr(coco_files, "loads", lambda text: parsed.append(text) or loads(text))
    folder = folder_with(coco(), tmp_path / "data")
    first, again = read_coco_folder(folder), read_coco_folder(folder)
    assert (first, len(parsed)) == (again, 1)
    path = folder / "annotations.json"
    path.write_text(path.read_text("utf-8").replace("bolt", "bold"), encoding="utf-8")
    assert read_coco_folder(folder).digest != first.digest
    assert len(parsed) == 2
