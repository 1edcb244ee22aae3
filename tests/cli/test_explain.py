# SPDX-License-Identifier: Apache-2.0
"""``aocq explain`` and ``aocq figures --cam`` on the demo: files, figures, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
from command_line import RUN_FILES, Demo, Finished
from PIL import Image

from aocq.records.explanation import Explanation
from aocq.records.run_folder import load_run

Run = Callable[..., Finished]


@pytest.fixture(scope="module")
def digit(demo: Demo) -> Path:
    """An image that the demo was judged on."""
    return sorted((demo.folder / "data" / "val" / "3").iterdir())[0]


@pytest.fixture(scope="module")
def explained(warm: Run, demo: Demo, digit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JSON and the page of an image."""
    folder = tmp_path_factory.mktemp("explained")
    done = warm("explain", demo.folder, "--image", digit, "--out", folder / "digit.html", "--json")
    (folder / "digit.json").write_text(done.out, encoding="utf-8")
    assert done.err.endswith(f"page: {folder / 'digit.html'}\n")
    return folder


def float_logit(image: Path, number: int) -> float:
    """The demo network's own, by timm."""
    from aocq.data.loader import open_image, preprocessing_transform
    from aocq.zoo.models import load_model

    loaded = load_model("vit_nano_digits")
    pixels = preprocessing_transform(loaded.preprocessing)(open_image(image))
    return float(loaded.network(pixels[None])[0, number])


def test_an_image_is_explained_by_the_runs_own_figures(
    explained: Path, demo: Demo, digit: Path
) -> None:
    told = json.loads((explained / "digit.json").read_text(encoding="utf-8"))
    steepest = told.pop("steepest_fall")
    found = Explanation.model_validate(told)
    result, rows = load_run(demo.folder)
    assert found.graph_sha256 == result.graph.sha256
    assert found.checkpoint_sha256 == result.model.checkpoint_sha256
    assert [row.op for row in found.ops] == [row.op for row in rows]
    assert [each.engine for each in found.answers] == ["float", "simulated", "integer"]
    assert found.answers[0].classes[0].number == 3
    assert found.answers[2].classes[0].number == 3
    assert found.answers[0].classes[0].logit == pytest.approx(float_logit(digit, 3), abs=1e-5)
    # Elements are those of one image of 360.
    assert [360 * row.elements for row in found.ops] == [row.elements for row in rows]
    falls = {
        row.op: row.sqnr_db - before.sqnr_db
        for before, row in zip(found_sqnr(found), found_sqnr(found)[1:], strict=False)
    }
    assert steepest["op"] == min(falls, key=lambda op: falls[op])
    assert [each.block for each in found.blocks] == ["stem", "blocks.0", "blocks.1"]
    assert all(len(each.errors) == 17 and min(each.errors) > 0 for each in found.blocks)
    counted = {row.op: row.saturated for row in found.ops if row.saturated}
    assert {**found.saturated.placed, **found.saturated.elsewhere} == counted


def found_sqnr(found: Explanation):
    return [row for row in found.ops if row.sqnr_db is not None]


def test_its_page_has_the_image_and_its_maps(explained: Path, digit: Path) -> None:
    page = (explained / "digit.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert f"{digit.name}: vit_nano_digits, aocq W4A8" in page
    assert page.count("data:image/png;base64,") == 1
    assert page.count("error of tokens of") == 3


def test_the_page_goes_into_the_runs_folder_and_leaves_the_run_as_it_is(
    warm: Run, demo: Demo, digit: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in RUN_FILES:
        shutil.copy(demo.folder / name, folder)
    done = warm("explain", folder, "--image", digit)
    assert "The integer network finds: class 3" in done.out
    assert (folder / f"explain-3-{digit.stem}.html").is_file()
    again = warm(*demo.verify, "--out", folder)
    assert "finished before" in again.err


def test_what_is_no_image_no_run_or_other_weights_is_told(
    warm: Run, demo: Demo, digit: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no image")
    told = warm("explain", demo.folder, "--image", text, code=3).err
    assert "notes.png: cannot be decoded (none of BMP" in told
    assert "name another image with --image" in told
    told = warm("explain", demo.folder, "--image", tmp_path / "none.png", code=3).err
    assert "none.png: cannot be decoded (no such file" in told
    told = warm("explain", tmp_path, "--image", digit, code=3).err
    assert "run.json: cannot be read" in told
    assert "a run folder is what `aocq verify --out` writes" in told
    warm("explain", demo.folder, code=2)
    other = tmp_path / "other.safetensors"
    save_other_weights(other)
    told = warm("explain", demo.folder, "--image", digit, "--weights", other, code=3).err
    assert "are not those of the run" in told
    assert "name these with --weights FILE" in told


def save_other_weights(path: Path) -> None:
    from safetensors.torch import save_file

    from aocq.zoo.models import load_model

    weights = load_model("vit_nano_digits").network.state_dict()
    weights["head.bias"] = weights["head.bias"] + 1
    save_file(weights, path)


def test_a_checkpoint_that_has_moved_is_told(
    warm: Run, demo: Demo, digit: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in RUN_FILES:
        shutil.copy(demo.folder / name, folder)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    # Of an option that is given twice, the last one is taken.
    record["command"] += ["--weights=first.pth", "--weights", str(tmp_path / "gone.pth")]
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    told = warm("explain", folder, "--image", digit, code=3).err
    assert "gone.pth: not found, the checkpoint of the run in" in told


def test_maps_of_a_quantized_model_without_a_record_are_of_its_own_weights(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    """What ``aocq quantize`` writes has no run.json: the quantized model names its checkpoint."""
    folder, other = tmp_path / "quantized", tmp_path / "other.safetensors"
    folder.mkdir()
    for name in ("quantized.json", "quantized.safetensors"):
        shutil.copy(demo.folder / name, folder)
    save_other_weights(other)
    asked = ("figures", folder, "--data", demo.folder / "data" / "val", "--cam", "--cam-images", 1)
    told = warm(*asked, "--weights", other, "--out", tmp_path / "maps", code=3).err
    assert "are not those of the run in" in told
    assert "unchecked" not in warm(*asked, "--out", tmp_path / "maps").err
    model = json.loads((folder / "quantized.json").read_text(encoding="utf-8"))
    del model["sources"]  # as of an older version
    (folder / "quantized.json").write_text(json.dumps(model), encoding="utf-8")
    told = warm(*asked, "--weights", other, "--out", tmp_path / "maps").err
    assert "does not say of which weights it was made" in told
    assert "other.safetensors is taken for them, unchecked" in told


def test_maps_are_compared_on_many_images(warm: Run, demo: Demo, tmp_path: Path) -> None:
    data = demo.folder / "data" / "val"
    asked = ("figures", demo.folder, "--data", data, "--cam", "--cam-images", 20)
    done = warm(*asked, "--out", tmp_path)
    names = ["cam.csv", "cam.json", "cam.svg", "cam.png"]
    assert done.out.splitlines()[-4:] == [str(tmp_path / name) for name in names]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "cam.csv").read_text("utf-8"))))
    record = json.loads((tmp_path / "cam.json").read_text(encoding="utf-8"))
    assert len(rows) == len(record["images"]) == 20
    assert record["layer"] == "blocks.1.norm1"
    assert sum(row["class"] == Path(row["image"]).parent.name for row in rows) >= 18
    for name in ("activation_correlation", "rollout_overlap"):
        found = [float(row[name]) for row in rows if row[name]]
        assert record["mean"][name] == pytest.approx(fmean(found))
    assert record["mean"]["rollout_correlation"] > 0.99
    assert 0.7 < record["mean"]["activation_correlation"] < 1
    with Image.open(tmp_path / "cam.png") as drawn:
        assert drawn.size[0] > 1000
    of_class = tmp_path / "eight"
    warm(*asked[:-1], 3, "--class", 8, "--layer", "blocks.0.norm2", "--out", of_class)
    record = json.loads((of_class / "cam.json").read_text(encoding="utf-8"))
    assert {each["class_number"] for each in record["images"]} == {8}
    assert record["layer"] == "blocks.0.norm2"


@pytest.mark.parametrize("whole", [True, False])
def test_a_damaged_image_is_told_with_a_way_out_that_there_is(
    warm: Run, demo: Demo, digit: Path, tmp_path: Path, *, whole: bool
) -> None:
    """``figures`` has no --skip-bad-images; files may look whole from their two ends."""
    folder = tmp_path / "images" / "3"
    folder.mkdir(parents=True)
    content = bytearray(digit.read_bytes())
    content[len(content) // 2] ^= 1
    (folder / digit.name).write_bytes(content if whole else content[:60])
    for more in ((), ("--cam",)):
        asked = ("figures", demo.folder, "--data", folder.parent, "--out", tmp_path / "maps")
        told = warm(*asked, *more, code=3).err
        assert f"{digit.name}: cannot be decoded" in told
        assert "replace or remove it" in told
        assert "--skip-bad-images" not in told


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (("--cam", "--class", 10), 3, "has no class 10; --class is one of 0 to 9"),
        (("--class", 1), 2, "go with --cam"),
        (("--cam-images", 5), 2, "go with --cam"),
        (("--cam", "--images", 5), 2, "--cam takes --cam-images in place of --images"),
        (("--cam", "--tensor", "add"), 2, "--cam takes one run"),
        (("--layer", "norm"), 2, "go with --cam"),
        (
            ("--cam", "--layer", "blocks.1.nrm2"),
            3,
            "nearest: blocks.1.norm2",
        ),
        (
            ("--cam", "--layer", "blocks.1.attn.scores"),
            3,
            "scores is 4 x 17 x 17, no tokens that cover the image; name a tensor",
        ),
        (("--cam", "--layer", "head"), 3, "head is 10, no tokens that cover the image"),
    ],
)
def test_options_of_maps(
    warm: Run, demo: Demo, tmp_path: Path, more: tuple[object, ...], code: int, told: str
) -> None:
    asked = ("figures", demo.folder, "--data", demo.folder / "data" / "val", "--out", tmp_path)
    done = warm(*asked, *more, code=code)
    assert told in " ".join(done.err.replace("│", " ").split())
