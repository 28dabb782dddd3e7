"""Damaged and hostile images: a picture or a reason, never a crash, a warning, a hang or gigabytes."""

import io
import os
import random
import struct
import subprocess
import sys
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.faults.conftest import environment
from transferkit.data.decode import DecodeError, decode, eval_view
from transferkit.zoo.card import Preprocessing

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "PPM")
SEED = int(os.environ.get("TRANSFERKIT_SEED", "1"))
SECONDS = 5  # for an image of 96 x 80 pixels on a busy machine
MEMORY_KB = 1_500_000  # of the process that decodes all of them


def originals():
    """Bytes of small pictures in each format, the unusual kinds of it too."""
    y, x = np.mgrid[:80, :96]
    picture = Image.fromarray(np.stack([x * 2, y * 3, (x * y) % 256], -1).astype(np.uint8))
    deep = Image.fromarray((x * 600).astype(np.uint16))
    kinds = [(picture, name, {}) for name in FORMATS]
    kinds += [(picture, "JPEG", {"progressive": True}), (picture.convert("CMYK"), "JPEG", {})]
    kinds += [(picture.convert("P"), "PNG", {"transparency": 3}), (deep, "PNG", {}), (deep, "TIFF", {})]
    kinds += [(picture, "TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
    kinds += [(picture, "GIF", {"save_all": True, "append_images": [picture.rotate(90)]})]
    kinds += [(picture.convert("RGBA"), "WEBP", {"lossless": True}), (picture.convert("1"), "BMP", {})]
    kinds += [(picture, "JPEG", {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()})]
    for image, name, options in kinds:
        file = io.BytesIO()
        image.save(file, name, **options)
        yield name, file.getvalue()


def cut(data, chance):
    return data[: chance.randrange(len(data))]


def flip(data, chance):
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def flip_header(data, chance):
    head = min(len(data), 64)
    return flip(data[:head], chance) + data[head:]


def swap(data, chance):
    a, b, c = sorted(chance.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def enlarge(data, chance):
    """A number in the header becomes one of the largest."""
    at = chance.randrange(min(len(data) - 4, 120))
    return data[:at] + chance.choice([b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\xff\xff"]) + data[at + 4 :]


def pad(data, chance):
    return data + chance.randbytes(chance.choice([1, 500, 5000]))


MUTATIONS = (cut, flip, flip, flip_header, swap, enlarge, pad)


def mutants(count, seed):
    """(name, bytes) of damaged images; half the PNG get true checksums again, or their chunks would not be read."""
    chance, kinds = random.Random(seed), list(originals())
    for number in range(count):
        name, data = kinds[number % len(kinds)]
        change = chance.choice(MUTATIONS)
        changed = change(data, chance)
        if name == "PNG" and chance.random() < 0.5:
            changed = checksummed(changed)
        yield f"{number} {name} {change.__name__}", changed


def checksummed(data):
    """A PNG whose chunks have true checksums, as far as it can be followed."""
    made, at = data[:8], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        body = data[at + 4 : at + 8 + length]
        made += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return made + data[at:]


def outcome(data):
    """ "picture" or the reason; anything but these is raised."""
    started = time.monotonic()
    try:
        image = decode(data, shrunk_to=64)
        view = eval_view(image, Preprocessing(size_px=(32, 32)))
    except DecodeError as error:
        found = str(error)
        if not found or not found.isprintable() or len(found) > 200:
            raise ValueError(f"reason {found!r}") from error
    else:
        if image.mode != "RGB" or view.shape != (32, 32, 3):
            raise ValueError(f"{image.mode} {view.shape}")
        found = "picture"
    if time.monotonic() - started > SECONDS:
        raise ValueError(f"{time.monotonic() - started:.1f} s")
    return found


def campaign(count, seed):
    """Counts of outcomes; an AssertionError names the mutant that was no picture and no reason."""
    counts = {"picture": 0, "reason": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, data in mutants(count, seed):
            try:
                counts["picture" if outcome(data) == "picture" else "reason"] += 1
            except BaseException as error:
                raise AssertionError(f"seed {seed}, mutant {name}: {type(error).__name__}: {error}") from error
    return counts


def test_damaged_images_are_a_picture_or_a_reason(figure, capfd):
    counts = campaign(120, SEED)
    assert capfd.readouterr() == ("", "")
    figure(f"damaged images, seed {SEED}: {counts['picture']} pictures, {counts['reason']} reasons, 0 of 120 else")


@pytest.mark.faults
def test_five_hundred_damaged_images_say_nothing_to_the_terminal_and_take_little_memory(tmp_path, figure):
    code = (
        "import resource, sys; from tests.faults.test_images import campaign; counts = campaign(500, int(sys.argv[1]));"
        "print(counts['picture'], counts['reason'], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(SEED + 1)], capture_output=True, text=True, env=environment(), timeout=200
    )
    assert ended.stderr == ""
    pictures, reasons, memory_kb = map(int, ended.stdout.split())
    assert pictures + reasons == 500
    assert memory_kb < MEMORY_KB
    figure(f"500 damaged images, seed {SEED + 1}: {pictures} pictures, {reasons} reasons, {memory_kb >> 10} MB at most")


def test_hostile_files_of_the_world_are_a_picture_or_a_reason(shared, figure):
    found = {path.name: outcome(path.read_bytes()) for path in sorted((shared / "data/hostile").iterdir())}
    pictures = [name for name, said in found.items() if said == "picture"]
    assert "gray16.png" in pictures
    assert "bomb_400MP.png" not in pictures
    figure(f"hostile files: {len(pictures)} pictures, {len(found) - len(pictures)} reasons")


def bomb_png(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1 << 20), 9)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (13_000, 13_000)])
def test_headers_that_promise_more_than_there_is_take_no_memory(size):
    assert outcome(bomb_png(*size)) != "picture"


@pytest.mark.parametrize(
    "start", [b"", b"\0", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF", b"II*\0", b"MM\0*"]
)
def test_a_beginning_without_the_rest_is_refused(start):
    for data in (start, start + b"\0" * 30, start + b"\xff" * 30):
        assert outcome(data) != "picture"
