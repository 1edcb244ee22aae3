# SPDX-License-Identifier: Apache-2.0
"""The bundled network and digits: what they hold, and that they fit each other."""

import hashlib
import re
import subprocess
import sys
import threading
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from aocq.demo.digits import SPLIT_NAMES, SplitName, gray_levels, load_split, write_image_folder
from aocq.demo.model import WEIGHTS_FILE

SIZES: dict[SplitName, int] = {"calib": 128, "val": 360}


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "digits"
    write_image_folder(folder)
    return folder


@pytest.fixture(scope="module")
def network() -> nn.Module:
    import timm

    model: nn.Module = timm.create_model("vit_nano_digits", pretrained=True).eval()
    return model


def weights_path() -> Path:
    return Path(str(resources.files("aocq.demo") / WEIGHTS_FILE))


def read_folder(folder: Path) -> tuple[Tensor, Tensor]:
    """Read (N, 3, 8, 8) inputs in -1 ... 1 and (N,) labels back from the PNG files."""
    inputs, labels = [], []
    for path in sorted(folder.glob("*/*.png")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
        inputs.append(torch.from_numpy((pixels / 255 - 0.5) / 0.5).permute(2, 0, 1))
        labels.append(int(path.parent.name))
    return torch.stack(inputs), torch.tensor(labels)


def file_digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def pixel_sets(images: NDArray[np.uint8]) -> set[bytes]:
    return {image.tobytes() for image in images}


@torch.inference_mode()
def test_the_pretrained_network_knows_the_held_out_digits(
    network: nn.Module, image_folder: Path
) -> None:
    inputs, labels = read_folder(image_folder / "val")
    assert inputs.shape == (360, 3, 8, 8)
    top1 = (network(inputs).argmax(dim=1) == labels).double().mean().item()
    assert top1 >= 0.97


def test_the_network_holds_exactly_the_bundled_weights(network: nn.Module) -> None:
    bundled = load_file(weights_path())
    state = network.state_dict()
    assert bundled.keys() == state.keys()
    for name, value in bundled.items():
        assert value.dtype == torch.float16, name
        assert state[name].dtype == torch.float32, name
        assert torch.equal(state[name], value.float()), name


def test_the_weights_file_is_small() -> None:
    assert 100_000 <= weights_path().stat().st_size <= 300_000


def test_timm_knows_how_to_preprocess_the_images(network: nn.Module, image_folder: Path) -> None:
    import timm.data

    config = timm.data.resolve_model_data_config(network)
    assert config["input_size"] == (3, 8, 8)
    assert config["mean"] == config["std"] == (0.5, 0.5, 0.5)
    assert config["interpolation"] == "bicubic"
    assert config["crop_pct"] == 1.0
    transform = timm.data.create_transform(**config, is_training=False)
    path = image_folder / "val" / "0"
    inputs, _ = read_folder(image_folder / "val")
    with Image.open(min(path.iterdir())) as image:
        torch.testing.assert_close(transform(image.convert("RGB")), inputs[0])


def test_the_network_has_the_documented_shape(network: nn.Module) -> None:
    assert network.pretrained_cfg["num_classes"] == 10
    assert network.patch_embed.proj.weight.shape == (64, 3, 2, 2)
    assert network.pos_embed.shape == (1, 17, 64)
    assert len(network.blocks) == 2
    assert sum(parameter.numel() for parameter in network.parameters()) == 102_730


def test_without_pretrained_the_weights_are_random() -> None:
    import timm

    model = timm.create_model("vit_nano_digits")
    bundled = load_file(weights_path())
    assert not torch.equal(model.head.weight, bundled["head.weight"].float())


def test_another_number_of_classes_keeps_the_trunk() -> None:
    import timm

    model = timm.create_model("vit_nano_digits", pretrained=True, num_classes=3)
    assert model.head.weight.shape == (3, 64)
    assert torch.equal(
        model.patch_embed.proj.weight, load_file(weights_path())["patch_embed.proj.weight"].float()
    )


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_the_bundled_digits_are_complete_and_balanced(name: SplitName) -> None:
    images, labels = load_split(name)
    assert images.shape == (SIZES[name], 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert images.max() == 16
    counts = np.bincount(labels, minlength=10)
    assert counts.size == 10
    assert counts.max() - counts.min() <= 3


def test_calib_and_val_do_not_overlap() -> None:
    calib, val = (pixel_sets(load_split(name).images) for name in SPLIT_NAMES)
    assert len(calib) == 128
    assert len(val) == 360
    assert not calib & val


def test_the_bundled_digits_are_those_of_scikit_learn() -> None:
    from aocq.demo.train import divide_digits

    parts = divide_digits()
    for name in SPLIT_NAMES:
        for bundled, drawn in zip(load_split(name), parts.bundled[name], strict=True):
            np.testing.assert_array_equal(bundled, drawn)
    train = pixel_sets(parts.train.images)
    assert len(parts.train.labels) == 1437
    assert pixel_sets(load_split("calib").images) <= train
    assert not pixel_sets(load_split("val").images) & train


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_the_files_hold_the_bundled_pixels(image_folder: Path, name: SplitName) -> None:
    images, labels = load_split(name)
    assert len(list((image_folder / name).glob("*/*"))) == len(labels)
    for index, (pixels, label) in enumerate(zip(gray_levels(images), labels, strict=True)):
        with Image.open(image_folder / name / str(label) / f"{index:04d}.png") as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), pixels)


def test_gray_levels_span_eight_bits() -> None:
    ink = np.array([0, 1, 8, 15, 16], dtype=np.uint8)
    np.testing.assert_array_equal(gray_levels(ink), [0, 15, 127, 239, 255])


def test_two_folders_hold_identical_bytes_and_nothing_else(
    image_folder: Path, tmp_path: Path
) -> None:
    write_image_folder(tmp_path / "new" / "digits")
    digests = file_digests(tmp_path / "new")
    assert digests == {
        f"digits/{name}": digest for name, digest in file_digests(image_folder).items()
    }
    assert len(digests) == 488


def test_a_complete_folder_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    write_image_folder(folder)
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    write_image_folder(folder)
    assert before == {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    assert list(tmp_path.iterdir()) == [folder]


def test_an_empty_folder_is_filled(image_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    write_image_folder(folder)
    assert file_digests(folder) == file_digests(image_folder)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=re.escape(str(folder))):
        write_image_folder(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["digits", "notes.txt"]


def test_writers_at_the_same_time_agree(image_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    errors: list[Exception] = []

    def write() -> None:
        try:
            write_image_folder(folder)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert file_digests(folder) == file_digests(image_folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_the_digits_need_no_torch() -> None:
    code = "import sys, aocq.demo.digits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
