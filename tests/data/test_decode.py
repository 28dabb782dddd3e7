"""Decoding: every kind of image comes out upright, 8-bit RGB; everything else is refused with a reason."""

import io
import os
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import timm.data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL import __version__ as pillow_version
from timm.data.transforms import ResizeKeepRatio, str_to_interp_mode

from transferkit.data.decode import DecodeError, decode, eval_view
from transferkit.zoo.card import Preprocessing

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
REFUSED = {  # file of the hostile collection: a word of the reason
    "._photo.jpg": "not an image",
    "Thumbs.db": "not an image",
    "bad_size_header.png": "179 million",
    "bomb_400MP.png": "179 million",
    "empty.jpg": "empty",
    "html.jpg": "HTML",
    "one_pixel.png": "1 x 1 px",
    "random.jpg": "not an image",
    "stub.heic": "",  # "HEIC photo: ..." or "damaged", with or without the extra
    "truncated_half.jpg": "truncated",
    "truncated_header.jpg": "truncated",
}


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def smooth_photo(width: int = 48, height: int = 32) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 5, y * 7, (x + y) * 3], -1).astype(np.uint8))


def refusal(source) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(source)
    reason = str(caught.value)
    assert reason
    assert "\n" not in reason
    assert " at 0x" not in reason
    return reason


def test_each_hostile_file_is_accepted_or_refused_as_expected(shared):
    files = [path for path in sorted((shared / "data" / "hostile").iterdir()) if path.name != "README.md"]
    assert len(files) == 28
    for path in files:
        if path.name in REFUSED:
            assert REFUSED[path.name] in refusal(path), path
        else:
            image = decode(path)
            assert (image.mode, min(image.size) >= 2) == ("RGB", True), path


def test_the_hostile_photo_that_lies_on_its_side_is_turned_clockwise(shared):
    hostile = shared / "data" / "hostile"
    with Image.open(hostile / "exif_rotated_6.jpg") as raw:
        lying = np.asarray(raw.convert("RGB"))
    assert np.array_equal(np.asarray(decode(hostile / "exif_rotated_6.jpg")), np.rot90(lying, -1))
    assert np.array_equal(np.asarray(decode(hostile / "exif_bad_orientation.jpg")), lying)


def test_the_hostile_16_bit_photo_keeps_its_greys(shared):
    path = shared / "data" / "hostile" / "gray16.png"
    with Image.open(path) as raw:
        expected = np.asarray(raw).astype(float) / 65535 * 255
    grey = np.asarray(decode(path))
    assert np.abs(grey - expected[:, :, None]).max() <= 0.5
    assert grey.std() > 10


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_all_orientations_are_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(PHOTO), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = {  # EXIF 2.32: where row 0 and column 0 of the stored pixels belong
        1: PHOTO,
        2: PHOTO[:, ::-1],
        3: PHOTO[::-1, ::-1],
        4: PHOTO[::-1],
        5: PHOTO.transpose(1, 0, 2),
        6: np.rot90(PHOTO, -1),
        7: PHOTO[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PHOTO),
    }[orientation]
    assert np.array_equal(np.asarray(decode(data)), upright)
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(opened)), upright)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(range(40))])
def test_a_broken_exif_block_says_nothing_about_the_pixels(exif):
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(PHOTO), "PNG", exif=exif))), PHOTO)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(kind):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    grey = np.asarray(decode(encoded(Image.fromarray(values), kind)))
    assert np.array_equal(grey, np.repeat(np.arange(256).reshape(16, 16, 1), 3, 2))


@pytest.mark.parametrize(
    ("white", "dtype"), [(1.0, np.float32), (255, np.float32), (65535, np.int32), (65535, np.float32)]
)
def test_32_bits_are_scaled_to_8(white, dtype):
    ramp = (np.linspace(0, 1, 64).reshape(8, 8) * white).astype(dtype)
    grey = np.asarray(decode(encoded(Image.fromarray(ramp), "TIFF")))
    assert np.abs(grey[:, :, 0] - ramp.astype(float) / white * 255).max() <= 0.51


def test_a_pixel_that_is_not_a_number_is_refused():
    values = np.array([[0, 1], [np.nan, 1]], np.float32)
    assert "finite" in refusal(encoded(Image.fromarray(values), "TIFF"))


def test_transparency_is_laid_on_white():
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0]], [[200, 0, 0, 51], [0, 0, 0, 0]]], np.uint8)
    expected = [[[200, 0, 0], [255, 255, 255]], [[244, 204, 204], [255, 255, 255]]]  # 0.2 * 200 + 0.8 * 255 = 244
    assert np.asarray(decode(encoded(Image.fromarray(rgba), "PNG"))).tolist() == expected
    assert np.asarray(decode(rgba)).tolist() == expected
    grey = Image.fromarray(np.array([[[9, 0], [9, 255]], [[9, 255], [9, 0]]], np.uint8))
    assert np.asarray(decode(encoded(grey, "PNG")))[:, :, 0].tolist() == [[255, 9], [9, 255]]
    palette = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8)).convert("L")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    data = encoded(palette, "PNG", transparency=bytes([255, 0, 255]))
    assert np.asarray(decode(data)).tolist() == [[[10, 20, 30], [255, 255, 255]], [[70, 80, 90], [10, 20, 30]]]


@pytest.mark.parametrize(
    ("mode", "kind"), [("1", "PNG"), ("L", "PNG"), ("P", "GIF"), ("CMYK", "TIFF"), ("YCbCr", "TIFF")]
)
def test_other_colour_modes_become_the_rgb_that_pillow_makes_of_them(mode, kind):
    if mode == "YCbCr" and int(pillow_version.split(".")[0]) < 13:
        pytest.skip("Pillow reads the YCbCr TIFF that it writes only from version 13 on")
    image = smooth_photo().convert(mode)
    assert np.array_equal(np.asarray(decode(encoded(image, kind))), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "MPO", "PPM", "JPEG2000"])
def test_a_format_goes_by_content_not_by_name(tmp_path, kind):
    data = encoded(smooth_photo(), kind)
    (tmp_path / "photo.txt").write_bytes(data)
    from_file = np.asarray(decode(tmp_path / "photo.txt"))
    assert np.array_equal(from_file, np.asarray(decode(data)))
    assert np.abs(from_file.astype(int) - np.asarray(smooth_photo()))[:, :, :].mean() < 12


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decode(data).getpixel((4, 4)) == (255, 0, 0), kind


def test_a_heic_photo_is_read_with_the_extra():
    pillow_heif = pytest.importorskip("pillow_heif")
    photo = smooth_photo(64, 48)
    file = io.BytesIO()
    try:
        pillow_heif.from_pillow(photo).save(file, quality=90)
    except RuntimeError as error:
        pytest.skip(f"no HEVC encoder here: {error}")
    assert np.abs(np.asarray(decode(file.getvalue())).astype(int) - np.asarray(photo)).mean() < 8


@pytest.mark.parametrize(
    ("data", "package", "extra"),
    [
        (struct.pack(">I", 24) + b"ftyp" + b"mif1" + bytes(4) + b"mif1heic", "pillow_heif", "heic"),
        (b"\xff\x0a", "pillow_jxl", "jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "pillow_jxl", "jxl"),
    ],
)
def test_the_refusal_of_a_photo_that_needs_an_extra_names_it(monkeypatch, data, package, extra):
    from transferkit.data import formats

    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(formats, "_has", formats._has.__wrapped__)
    assert f"pip install 'transferkit[{extra}]'" in refusal(data + bytes(200))


def test_what_is_no_image_is_refused_with_what_it_seems_to_be(tmp_path):
    assert refusal(b"") == "empty file"
    assert "HTML" in refusal(b"\n<!DOCTYPE html><title>404</title>")
    assert "PDF" in refusal(b"%PDF-1.7 ...")
    assert refusal(b"hello") == "not an image"
    assert "1 x 9 px" in refusal(encoded(Image.new("RGB", (1, 9)), "PNG"))
    assert refusal(tmp_path / "gone.jpg") == f"no such file in {tmp_path}"
    assert refusal(tmp_path) == "a folder"
    assert "list" in refusal([1, 2])


def test_formats_with_a_history_of_holes_are_refused():
    for kind in ("EPS", "ICO", "TGA", "PCX"):
        assert "not an image" in refusal(encoded(smooth_photo(), kind))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(tmp_path / "pipe.jpg") == "not a regular file"


def test_more_pixels_than_the_limit_are_refused_and_fewer_do_not_warn():
    def header(width: int, height: int) -> bytes:
        data = bytearray(encoded(Image.new("1", (8, 8)), "BMP"))
        data[18:26] = struct.pack("<ii", width, height)
        return bytes(data)

    assert "179 million" in refusal(header(60_000, 60_000))
    assert refusal(header(12_000, 12_000)) == "truncated"  # Pillow would warn, and warnings are errors here


def test_arrays_and_pillow_images_are_decoded_like_files():
    grey = PHOTO[:, :, 0]
    assert np.array_equal(np.asarray(decode(PHOTO)), PHOTO)
    assert np.array_equal(np.asarray(decode(PHOTO[:, ::-1])), PHOTO[:, ::-1])
    assert np.array_equal(np.asarray(decode(grey)), np.repeat(grey[:, :, None], 3, 2))
    assert np.array_equal(np.asarray(decode(Image.fromarray(PHOTO))), PHOTO)
    for wrong in (PHOTO.astype(float), PHOTO[None], PHOTO[:, :, :2], PHOTO[:1], np.zeros(3, np.uint8)):
        refusal(wrong)


SAMPLES = [
    encoded(smooth_photo(), kind, **options)
    for kind, options in [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {}),
        ("JPEG2000", {}),
        ("PPM", {}),
    ]
]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(SAMPLES), st.floats(0, 1), st.binary(max_size=4), st.floats(0, 1), st.sampled_from([None, 8]))
def test_cut_or_damaged_bytes_raise_nothing_but_a_reason(data, where, noise, end, side):
    at = int(where * len(data))
    damaged = data[:at] + noise + data[at + len(noise) :]
    for source in (data[:at], damaged, damaged[: int(end * len(damaged))]):
        try:
            assert decode(source, shrunk_to=side).mode == "RGB"
        except DecodeError as error:
            assert str(error)  # noqa: PT017
            assert " at 0x" not in str(error)  # noqa: PT017


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data):
    refusal(data)


@pytest.mark.parametrize("data", SAMPLES)
def test_half_a_file_is_refused(data):
    refusal(data[: len(data) // 2])


def test_threads_decode_what_one_thread_decodes():
    alone = [np.asarray(decode(data)) for data in SAMPLES]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(decode, SAMPLES * 10))
    for i, image in enumerate(together):
        assert np.array_equal(np.asarray(image), alone[i % len(SAMPLES)])


def test_warnings_of_others_still_pass():
    decode(PHOTO)
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


SIZES = [(48, 32), (32, 48), (50, 37), (331, 203), (64, 64), (9, 7), (300, 20)]


@pytest.mark.parametrize("size_px", [(32, 32), (33, 33), (24, 40), (40, 24)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0])
def test_the_evaluation_view_is_timms_bit_for_bit(size_px, crop_mode, interpolation, crop_pct):
    preprocessing = Preprocessing(
        size_px=size_px, interpolation=interpolation, crop_pct=crop_pct, crop_mode=crop_mode, mean=(0.5, 0.4, 0.3)
    )
    transform = timm.data.create_transform(
        (3, *size_px),
        is_training=False,
        interpolation=interpolation,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        mean=preprocessing.mean,
        std=preprocessing.std,
        normalize=False,
    )
    if isinstance(transform.transforms[0], ResizeKeepRatio):  # before 1.0.31 it was bilinear for sides of two lengths
        transform.transforms[0].interpolation = str_to_interp_mode(interpolation)
    for width, height in SIZES:
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
        image = Image.fromarray(pixels)
        view = eval_view(image, preprocessing)
        assert view.shape == (*size_px, 3)
        assert np.array_equal(view, transform(image).permute(1, 2, 0).numpy()), (width, height)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_the_view_of_a_very_long_strip_does_not_take_memory_by_its_length(crop_mode):
    preprocessing = Preprocessing(size_px=(32, 32), crop_mode=crop_mode)
    for size in ((2, 60_000), (60_000, 2)):
        assert eval_view(Image.new("RGB", size, "red"), preprocessing).shape == (32, 32, 3)


def test_decoding_needs_neither_torch_nor_torchvision():
    code = "import sys, transferkit.data.decode, transferkit.data.folder, transferkit.data.augment as a;"
    code += "print([m for m in ('torch', 'torchvision', 'timm', 'albumentations', 'cv2') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
