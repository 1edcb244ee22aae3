# SPDX-License-Identifier: Apache-2.0
"""Pixels are read as what they mean, or refused with the file's name: never as black in silence."""

from __future__ import annotations

import io
import os
import signal
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from written_images import deep_png, tiff

from aocq.data.decoding import (
    CONVERSIONS,
    LARGEST,
    LONGEST,
    REFUSED,
    BadImageError,
    open_image,
)

NOISE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
COLOR = Image.fromarray(NOISE)
GRAY = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


def refusal(path: Path, channels: int = 3) -> str:
    with pytest.raises(BadImageError) as caught:
        open_image(path, channels)
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be decoded (")
    assert message.endswith(
        "); replace it, or pass --skip-bad-images to leave such files out and count them"
    )
    return message


def pixels(content: bytes, tmp_path: Path, channels: int = 3) -> np.ndarray[Any, Any]:
    (tmp_path / "image.png").write_bytes(content)
    return np.asarray(open_image(tmp_path / "image.png", channels))


ORDINARY: dict[str, Callable[[Path], object]] = {
    "bits.png": lambda path: COLOR.convert("1").save(path),
    "gray.png": lambda path: COLOR.convert("L").save(path),
    "gray_alpha.png": lambda path: COLOR.convert("LA").save(path),
    "gray_key.png": lambda path: COLOR.convert("L").save(path, transparency=7),
    "palette.png": lambda path: COLOR.quantize(16).save(path),
    "palette_key.png": lambda path: COLOR.quantize(16).save(path, transparency=3),
    "palette_alpha.png": lambda path: COLOR.quantize(16).save(path, transparency=bytes(range(16))),
    "color.png": COLOR.save,
    "color_key.png": lambda path: COLOR.save(path, transparency=(1, 2, 3)),
    "color_alpha.png": lambda path: COLOR.convert("RGBA").save(path),
    "color.bmp": COLOR.save,
    "color.gif": COLOR.save,
    "key.gif": lambda path: COLOR.quantize(16).save(path, transparency=3),
    "color.jpg": COLOR.save,
    "print.jpg": lambda path: COLOR.convert("CMYK").save(path),
    "gray.jpg": lambda path: COLOR.convert("L").save(path),
    "color.tif": lambda path: COLOR.save(path, compression="tiff_lzw"),
    "alpha.tif": lambda path: COLOR.convert("RGBA").save(path),
    "print.tif": lambda path: COLOR.convert("CMYK").save(path),
    "video.tif": lambda path: COLOR.convert("YCbCr").save(path),
    "color.webp": COLOR.save,
    "alpha.webp": lambda path: COLOR.convert("RGBA").save(path),
    "misnamed.jpg": lambda path: COLOR.save(path, format="PNG"),
}


@pytest.mark.filterwarnings("ignore:Palette images")  # of the reference
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_images_are_read_as_timm_reads_them(name: str, mode: str, tmp_path: Path) -> None:
    """timm opens a file and converts it, nothing else."""
    path = tmp_path / name
    ORDINARY[name](path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert(mode))
    found = open_image(path, {"RGB": 3, "L": 1}[mode])
    assert found.mode == mode
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_every_mode_has_a_conversion_or_a_reason() -> None:
    modes = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB"}
    deep = {"I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
    assert set(CONVERSIONS) | set(REFUSED) == modes | deep | {"HSV"}
    assert not set(CONVERSIONS) & set(REFUSED)
    for mode in modes:
        image = Image.new(mode, (3, 2))
        assert {CONVERSIONS[mode](image, wanted, "").mode for wanted in ("L", "RGB")} == {
            "L",
            "RGB",
        }


def test_a_color_of_lab_is_that_color(tmp_path: Path) -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (4, 4), (200, 40, 90)), *profiles, outputMode="LAB"
    )
    assert lab is not None
    lab.save(tmp_path / "lab.tif")
    color = np.asarray(open_image(tmp_path / "lab.tif"))[0, 0].astype(int)
    assert np.abs(color - (200, 40, 90)).max() <= 3
    assert open_image(tmp_path / "lab.tif", 1).mode == "L"


@pytest.mark.parametrize("name", ["real.tif", "integers.tif"])
def test_pixels_without_a_range_are_refused(name: str, tmp_path: Path) -> None:
    values = NOISE[..., 0]
    kind, dtype = {"real.tif": ("F", np.float32), "integers.tif": ("I", np.int32)}[name]
    scaled = values / 255 if kind == "F" else values
    Image.fromarray(scaled.astype(dtype)).save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert image.mode == kind
    message = refusal(tmp_path / name)
    assert f"pixels of mode {kind}: " in message
    assert "no stated range; save them with 8 bits per channel" in message


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
@pytest.mark.parametrize(("peak", "fine"), [(0, True), (1, False), (255, False), (4095, False)])
def test_small_values_of_16_bits_are_not_read_as_black(
    name: str, peak: int, fine: bool, tmp_path: Path
) -> None:
    """All zeros are black on every range."""
    Image.fromarray(np.minimum(GRAY, peak)).save(tmp_path / name)
    if fine:
        assert open_image(tmp_path / name).getextrema() == ((0, 0),) * 3
    else:
        assert f"16 bits per channel, but its values are at most {peak}: on 0..65535" in refusal(
            tmp_path / name
        )


def test_16_bits_from_a_sixteenth_of_the_range_on_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.minimum(GRAY, 4096)).save(tmp_path / "deep.png")
    assert open_image(tmp_path / "deep.png", 1).getextrema() == (0, 16)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bits_of_several_channels_are_the_same(channels: int, tmp_path: Path) -> None:
    samples = np.stack([GRAY] * channels, axis=-1)
    if channels != 3:
        samples[..., -1] = 65535  # alpha says nothing of brightness
    found = pixels(deep_png(samples), tmp_path)
    np.testing.assert_array_equal(found, np.stack([GRAY >> 8] * 3, axis=-1))
    colors = 1 if channels == 2 else 3
    samples[..., :colors] >>= 5
    (tmp_path / "faint.png").write_bytes(deep_png(samples))
    assert "its values are below 2048: on 0..65535" in refusal(tmp_path / "faint.png")


@pytest.mark.parametrize("kind", ["2", "3", "4", "tif"])
@pytest.mark.parametrize(("value", "fine"), [(0, True), (1, False), (255, False), (256, False)])
def test_small_values_of_several_channels_are_not_read_as_black(
    kind: str, value: int, fine: bool, tmp_path: Path
) -> None:
    """One pixel of one channel is enough; alpha, as large as can be, says nothing."""
    samples = np.zeros((4, 5, 3 if kind == "tif" else int(kind)), np.uint16)
    if kind in "24":
        samples[..., -1] = 65535
    samples[2, 3, 0] = value
    path = tmp_path / "deep"
    if kind == "tif":
        packed = samples.astype("<u2").tobytes()
        path.write_bytes(tiff(5, 4, [packed], bits=16, samples=3, photometric=2))
    else:
        path.write_bytes(deep_png(samples))
    if fine:
        assert open_image(path).getextrema() == ((0, 0),) * 3
    else:
        assert f"its values are below {(value // 256 + 1) * 256}: on" in refusal(path)


def test_12_bits_of_a_tiff_are_its_range(tmp_path: Path) -> None:
    first, second = 0x123, 0xFED
    packed = bytes([first >> 4, (first & 15) << 4 | second >> 8, second & 255])
    found = pixels(tiff(2, 1, [packed], bits=12), tmp_path)
    assert found[..., 0].tolist() == [[first >> 4, second >> 4]]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (tiff(2, 2, [bytes([255, 1, 2, 3])], sample_format=2), "its samples are signed numbers"),
        (tiff(2, 2, [struct.pack("<4H", 0, 9, 99, 60000)], bits=16, photometric=0), "0 is white"),
        (
            tiff(2, 2, [bytes(range(8))] * 3, bits=16, samples=3, photometric=2),
            "more than 8 bits per channel, channels apart",
        ),
    ],
)
def test_tiffs_that_pillow_takes_for_others_are_refused(
    content: bytes, why: str, tmp_path: Path
) -> None:
    with Image.open(io.BytesIO(content)) as image:
        image.load()  # without a word
    (tmp_path / "odd.tif").write_bytes(content)
    assert why in refusal(tmp_path / "odd.tif")


def test_8_bits_are_read_also_with_white_as_0_and_channels_apart(tmp_path: Path) -> None:
    found = pixels(tiff(2, 1, [bytes([0, 250])], photometric=0), tmp_path)
    assert found[..., 0].tolist() == [[255, 5]]
    planes = [bytes([1, 2]), bytes([3, 4]), bytes([5, 6])]
    found = pixels(tiff(2, 1, planes, samples=3, photometric=2), tmp_path)
    assert found.tolist() == [[[1, 3, 5], [2, 4, 6]]]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "but PostScript"),
        (b"%PDF-1.7\n", "but a PDF"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "but AVIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "but JPEG 2000"),
        (b"P6 1 1 255\n\0\0\0", "but PNM"),
        (b"<!DOCTYPE html><html>", "but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "`git lfs pull`"),
        (b"\x89PNG\r\n\x1a\nrubbish", "a damaged PNG"),
        (b"just words", "none of BMP, GIF, JPEG, PNG, TIFF, WEBP)"),
        (b"", "the file is empty"),
    ],
)
def test_other_kinds_of_files_are_told_for_what_they_are(
    content: bytes, what: str, tmp_path: Path
) -> None:
    (tmp_path / "image.png").write_bytes(content)
    message = refusal(tmp_path / "image.png")
    assert what in message
    assert ("none of BMP" in message) == (b"PNG" not in content and content != b"")


def test_formats_of_the_list_alone_are_decoded(tmp_path: Path) -> None:
    for name in ("PPM", "TGA", "ICO", "JPEG2000"):
        COLOR.save(tmp_path / "image.png", format=name)
        assert "none of BMP, GIF, JPEG, PNG, TIFF, WEBP" in refusal(tmp_path / "image.png")


@pytest.fixture
def in_time() -> Iterator[None]:
    """Ends what waits for ever."""

    def ended(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(path.parent)  # names of sockets are short
        listening.bind(path.name)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "a named pipe"),
        (bind, "a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (Path.mkdir, "a folder"),
        (lambda path: path.symlink_to("nowhere"), "a link that leads nowhere"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: None, "no such file"),
    ],
)
def test_only_regular_files_are_opened(
    make: Callable[[Path], object], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "image.png")
    assert f"cannot be decoded ({what})" in refusal(tmp_path / "image.png")


def test_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    COLOR.save(path)
    np.testing.assert_array_equal(np.asarray(open_image(path)), NOISE)


def test_the_first_frame_is_the_image(tmp_path: Path) -> None:
    for name, options in (("a.mpo", {}), ("a.gif", {}), *TURNABLE):
        kind = Image.registered_extensions()[name[1:]].replace("MPO", "JPEG")
        COLOR.copy().save(tmp_path / "one", format=kind, **options)
        others = [Image.new("RGB", COLOR.size, color) for color in ("red", "blue")]
        COLOR.copy().save(tmp_path / name, save_all=True, append_images=others, **options)
        with Image.open(tmp_path / name) as image:
            assert getattr(image, "n_frames", 1) == 3
        np.testing.assert_array_equal(
            np.asarray(open_image(tmp_path / name)), np.asarray(open_image(tmp_path / "one"))
        )


TURNABLE: tuple[tuple[str, dict[str, Any]], ...] = (
    *(("a.png", {}), ("a.tif", {})),
    ("a.webp", {"lossless": True}),
)


def test_orientation_is_ignored_where_pillow_does(tmp_path: Path) -> None:
    """As timm: of a JPEG, PNG or WebP. Pillow itself turns a TIFF."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    for name, options in (*TURNABLE, ("a.jpg", {})):
        COLOR.save(tmp_path / name, exif=exif, **options)
        with Image.open(tmp_path / name) as image:
            assert image.getexif()[0x0112] == 6
            expected = image.convert("RGB")
        found = open_image(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
        assert found.size == ((12, 10) if name == "a.tif" else (10, 12))


def test_color_profiles_are_ignored(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    COLOR.save(tmp_path / "color.png", icc_profile=profile)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "color.png")), NOISE)


def png_header(width: int, height: int) -> bytes:
    """A gray PNG that ends before its pixels."""
    content = bytearray(deep_png(np.zeros((1, 1, 3), np.uint16)))
    struct.pack_into(">II", content, 16, width, height)
    content[24:26] = bytes([8, 0])
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize(
    ("size", "refused"),
    [
        ((20000, 20000), True),
        ((LONGEST + 1, 1), True),
        ((1, 2**31 - 1), True),
        ((LONGEST, 1), False),
        ((13377, 13377), False),  # warned of by Pillow, and within our limit
    ],
)
def test_how_large_images_may_be(
    size: tuple[int, int], refused: bool, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "huge.png").write_bytes(png_header(*size))
    message = refusal(tmp_path / "huge.png")
    assert (f"{LARGEST:,}" in message or str(LARGEST) in message) == refused
    assert ("truncated" in message) == (not refused)
    assert not recwarn.list
