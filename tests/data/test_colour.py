"""Colours of a profile come out as those of sRGB; profiles of sRGB, broken and huge ones change no bit."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from transferkit.data.decode import decode

D50 = (0.9642, 1.0, 0.8249)
PRIMARIES = {  # of ICC profiles: CIE XYZ of red, green and blue, adapted to D50
    "sRGB": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
    "P3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
    "Adobe": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
}
LINEAR_TO_SRGB = {  # CSS Color 4, section 18, and Adobe RGB (1998), 4.3.5.4 with IEC 61966-2-1
    "P3": np.array([[1.224940, -0.224940, 0], [-0.042057, 1.042057, 0], [-0.019638, -0.078636, 1.098274]]),
    "Adobe": np.array([[1.398356, -0.398356, 0], [0, 1, 0], [0, -0.042931, 1.042931]]),
}
STEPS = np.linspace(60, 180, 6).round().astype(np.uint8)  # within the gamut of sRGB
COLOURS = np.stack(np.meshgrid(STEPS, STEPS, STEPS), -1).reshape(12, 18, 3)


def from_srgb_curve(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb_curve(values):
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * np.clip(values, 0, None) ** (1 / 2.4) - 0.055)


CURVES = {"sRGB": from_srgb_curve, "P3": from_srgb_curve, "Adobe": lambda values: values ** (563 / 256)}


def profile(name, *, bend=1.0):
    """An ICC profile of version 2: three colours and a curve, to the power of `bend`."""
    fixed = [b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * v) for v in xyz)) for xyz in PRIMARIES[name]]
    table = np.round(65535 * CURVES[name](np.linspace(0, 1, 1024)) ** bend).astype(">u2").tobytes()
    curve = b"curv" + bytes(4) + struct.pack(">I", 1024) + table
    white = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in D50))
    parts = [white, *fixed, curve]
    starts = [128 + 4 + 12 * 7 + sum(map(len, parts[:k])) for k in range(5)]
    signs = {b"wtpt": 0, b"rXYZ": 1, b"gXYZ": 2, b"bXYZ": 3, b"rTRC": 4, b"gTRC": 4, b"bTRC": 4}
    tags = b"".join(sign + struct.pack(">II", starts[k], len(parts[k])) for sign, k in signs.items())
    body = struct.pack(">I", len(signs)) + tags + b"".join(parts)
    head = struct.pack(
        ">I4sI4s4s4s12s4s", 128 + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp"
    )
    return head.ljust(68, b"\0") + fixed_white() + bytes(48) + body


def fixed_white():
    return struct.pack(">3i", *(round(65536 * value) for value in D50))


def encoded(pixels, icc, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, icc_profile=icc, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("name", ["P3", "Adobe"])
def test_colours_of_a_wide_profile_become_those_of_srgb(name, kind):
    data = encoded(COLOURS, profile(name), kind, **({"lossless": True} if kind == "WEBP" else {}))
    linear = CURVES[name](COLOURS / 255) @ LINEAR_TO_SRGB[name].T
    inside = ((linear >= 0) & (linear <= 1)).all(-1)
    assert inside.mean() > 0.5
    found, meant = np.asarray(decode(data)).astype(float), 255 * to_srgb_curve(linear)
    assert np.abs(found - meant)[inside].max() <= 1.5
    assert np.abs(COLOURS - meant)[inside].max() > 10
    assert "icc_profile" not in decode(data).info


def test_a_photo_converted_is_not_converted_again():
    once = decode(encoded(COLOURS, profile("P3")))
    assert np.array_equal(np.asarray(decode(once)), np.asarray(once))
    opened = Image.open(io.BytesIO(encoded(COLOURS, profile("P3"))))
    assert np.array_equal(np.asarray(decode(opened)), np.asarray(once))


def test_a_photo_is_shrunk_and_converted():
    large = np.full((64, 64, 3), (200, 60, 60), np.uint8)
    shrunk = decode(encoded(large, profile("P3"), "JPEG", quality=95, subsampling=0), shrunk_to=16)
    assert shrunk.size == (16, 16)
    assert np.abs(np.asarray(shrunk)[8, 8].astype(int) - (217, 45, 53)).max() <= 3  # by the formulas above


def test_what_lies_on_white_stays_on_white():
    clear = np.zeros((8, 8, 4), np.uint8)
    assert (np.asarray(decode(encoded(clear, profile("P3")))) == 255).all()


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]


@pytest.mark.parametrize(
    "icc",
    [
        SRGB,
        profile("sRGB"),
        profile("sRGB", bend=1.01),
        GREY,
        b"no profile",
        profile("P3")[:200],
        profile("P3")[:128] + bytes(range(256)),
        profile("P3") + bytes(5 << 20),
    ],
    ids=["lcms", "sRGB", "nearly sRGB", "grey", "none", "cut", "damaged", "huge"],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_profile_of_srgb_and_one_that_cannot_be_used_change_no_bit(kind, icc):
    assert np.array_equal(np.asarray(decode(encoded(COLOURS, icc, kind))), COLOURS)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


LONG = b"all that was ever done to it. " * 120_000
CHUNKS = {
    "text": chunk(b"tEXt", b"history\0" + LONG),
    "packed": chunk(b"zTXt", b"history\0\0" + zlib.compress(LONG)),
    "international": chunk(b"iTXt", b"history\0\1\0en\0history\0" + zlib.compress(LONG)),
    "profile": chunk(b"iCCP", b"P3\0\0" + zlib.compress(profile("P3") + bytes(3 << 20))),
    "many": chunk(b"zTXt", b"history\0\0" + zlib.compress(LONG[: 1 << 20])) * 80,
    "damaged": chunk(b"zTXt", b"history\0\0" + b"not zlib"),
}


@pytest.mark.parametrize("name", CHUNKS)
@pytest.mark.parametrize("behind", [False, True])
def test_long_texts_and_profiles_do_a_png_no_harm(name, behind):
    plain = encoded(COLOURS, None)
    at = plain.index(b"IEND") - 4 if behind and name != "profile" else 33  # behind the pixels, or the header
    assert np.array_equal(np.asarray(decode(plain[:at] + CHUNKS[name] + plain[at:])), COLOURS)


def test_beside_a_long_text_the_profile_and_the_orientation_still_count():
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encoded(COLOURS, profile("P3"), exif=exif)
    assert np.array_equal(np.asarray(decode(plain[:33] + CHUNKS["packed"] + plain[33:])), np.asarray(decode(plain)))
    assert decode(plain).size == (12, 18)
