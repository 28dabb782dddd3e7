"""Large photos are shrunk once, small ones keep every bit, and the store changes neither."""

import hashlib
import io
import time

import numpy as np
import pytest
from PIL import Image, ImageOps

from transferkit.data import augment, batches, known
from transferkit.data import photos as photos_module
from transferkit.data.decode import DecodeError, decode, eval_view
from transferkit.data.known import Known
from transferkit.data.listing import PathTable
from transferkit.data.photos import Decoding, Photos, source_side
from transferkit.data.store import Store
from transferkit.progress import Progress
from transferkit.zoo.card import Preprocessing

SIDE = 32
SMALL_VIEW = Preprocessing(size_px=(16, 16))


def scene(width: int, height: int, *, seed: int = 0) -> Image.Image:
    """A picture with surfaces, edges and texture, so that a JPEG of it is like that of a photo."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    waves = 110 + 60 * np.sin(x / 23 + seed)[..., None] + 50 * np.cos((x + 2 * y) / 31)[..., None] * [1, 0.6, -0.8]
    waves[(x // 40 + y // 28) % 3 == 0] -= 40
    return Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 92} if kind in ("JPEG", "MPO") else {}) | options)
    return file.getvalue()


def difference(a, b) -> np.ndarray:
    return np.abs(np.asarray(a).astype(int) - np.asarray(b))


@pytest.fixture
def settled(monkeypatch):
    """Files written before the call of what is returned count as long unchanged."""
    monkeypatch.setattr(known, "MARGIN_NS", 0)
    return lambda: time.sleep(0.02)  # more than a tick of the file system's clock


def photos(folder, *, workers: int = 0) -> Photos:
    store = Store(folder / "cache", side=SIDE, progress=Progress())
    return Photos(Decoding(SIDE), workers=workers, store=store, index=Known(folder / "cache" / "files.sqlite"))


@pytest.mark.parametrize(("width", "height"), [(63, 90), (90, 63), (32, 500), (20, 20), (63, 63)])
def test_a_photo_less_than_twice_as_large_keeps_every_bit(width, height):
    data = encoded(scene(width, height))
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(np.asarray(decode(data, shrunk_to=SIDE)), np.asarray(opened.convert("RGB")))


@pytest.mark.parametrize(
    ("size", "shrunk"),
    [((64, 64), (32, 32)), ((512, 384), (43, 32)), ((300, 1000), (32, 107)), ((6400, 64), (3200, 32))],
)
def test_the_shorter_side_of_a_larger_photo_has_the_length_asked_for(size, shrunk):
    image = scene(*size)
    for source in (image, np.asarray(image), encoded(image, "PNG")):
        assert decode(source, shrunk_to=SIDE).size == shrunk
    jpeg = decode(encoded(image), shrunk_to=SIDE)  # decoded at a fraction, of which a pixel may be cut by the edge
    assert min(jpeg.size) == SIDE
    assert max(jpeg.size) == pytest.approx(max(shrunk), rel=1 / SIDE)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"kind": "MPO"}])
def test_a_jpeg_decoded_at_a_fraction_is_what_antialiasing_makes_of_it_whole(options):
    data = encoded(scene(1000, 750), **options)
    with Image.open(io.BytesIO(data)) as opened:
        expected = opened.convert("RGB").resize((256, 192), Image.Resampling.LANCZOS)
    found = difference(decode(data, shrunk_to=192), expected)
    assert found.mean() < 1
    assert np.quantile(found, 0.999) < 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_pattern_finer_than_the_shrunk_photo_becomes_its_mean_not_a_false_pattern(kind):
    y, x = np.mgrid[:360, :480]
    stripes = Image.fromarray(np.uint8(255 * ((x // 2 + y // 2) % 2)))
    shrunk = np.asarray(decode(encoded(stripes, kind), shrunk_to=45))
    assert difference(shrunk[2:-2, 2:-2], 127.5).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_photo_that_lies_on_its_side_is_turned_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(400, 300), exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        upright = ImageOps.exif_transpose(opened)
    shrunk = decode(data, shrunk_to=75)
    expected = upright.resize(shrunk.size, Image.Resampling.BICUBIC)
    assert min(shrunk.size) == 75
    assert difference(shrunk, expected).mean() < 2


def test_other_colours_and_depths_are_shrunk_as_they_are_decoded():
    grey = np.linspace(0, 65535, 128 * 96).astype(np.uint16).reshape(96, 128)
    cases = [encoded(scene(200, 160).convert("CMYK")), encoded(scene(200, 160).convert("L"))]
    cases += [encoded(Image.fromarray(grey), "PNG"), encoded(scene(200, 160).convert("P"), "GIF")]
    for data in cases:
        shrunk = decode(data, shrunk_to=SIDE)
        whole = decode(data)
        assert (shrunk.mode, min(shrunk.size)) == ("RGB", SIDE)
        assert difference(shrunk, whole.resize(shrunk.size, Image.Resampling.BICUBIC)).mean() < 3


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9, 0.99])
def test_a_cut_jpeg_is_refused_for_the_same_reason_at_every_size(options, share):
    data = encoded(scene(400, 300), **options)
    cut = data[: int(share * len(data))]
    reasons = []
    for side in (None, SIDE, 70, 140):
        with pytest.raises(DecodeError) as caught:
            decode(cut, shrunk_to=side)
        reasons.append(str(caught.value))
    assert len(set(reasons)) == 1


def test_a_pillow_image_of_the_caller_is_left_as_it_was():
    with Image.open(io.BytesIO(encoded(scene(400, 300)))) as image:
        assert decode(image, shrunk_to=SIDE).size == (43, 32)
        assert image.size == (400, 300)


@pytest.mark.parametrize("crop_pct", [0.3, 0.5, 0.875, 1.0])
@pytest.mark.parametrize("size", [(32, 32), (224, 160), (384, 512)])
def test_what_a_network_sees_is_never_enlarged_from_a_shrunk_photo(size, crop_pct):
    assert source_side(Preprocessing(size_px=size, crop_pct=crop_pct)) >= max(384, max(size) / crop_pct)


def test_a_second_reading_gives_the_same_photo_hash_and_size(tmp_path, settled):
    data = {
        "large.jpg": encoded(scene(200, 150)),
        "small.jpg": encoded(scene(50, 40)),
        "flat.png": encoded(scene(64, 99), "PNG"),
    }
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
    settled()
    for reader in (photos(tmp_path), photos(tmp_path), Photos(Decoding(SIDE), workers=0)):
        for name, content in data.items():
            photo = reader.read(tmp_path / name)
            assert np.array_equal(np.asarray(photo.image), np.asarray(decode(content, shrunk_to=SIDE)))
            assert (photo.sha256, photo.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
        reader.remember()


def test_a_photo_in_the_store_is_not_read_again(tmp_path, settled):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(scene(200, 150)))
    settled()
    planted = np.full((SIDE, 40, 3), 7, np.uint8)
    Known(tmp_path / "cache" / "files.sqlite").add([(known.identity(path), "ab" * 32)])
    Store(tmp_path / "cache", side=SIDE, progress=Progress()).put("ab" * 32, planted)
    photo = photos(tmp_path).read(path)
    assert np.array_equal(np.asarray(photo.image), planted)  # only the cache can have said so
    assert (photo.sha256, photo.bytes) == ("ab" * 32, path.stat().st_size)


def test_a_copy_of_a_photo_is_decoded_once(tmp_path):
    data = encoded(scene(200, 150))
    planted = np.full((SIDE, 40, 3), 7, np.uint8)
    Store(tmp_path / "cache", side=SIDE, progress=Progress()).put(hashlib.sha256(data).hexdigest(), planted)
    (tmp_path / "copy.jpg").write_bytes(data)
    assert np.array_equal(np.asarray(photos(tmp_path).read(tmp_path / "copy.jpg").image), planted)


def test_a_changed_file_is_read_again_though_its_name_stayed(tmp_path, settled):
    path = tmp_path / "photo.png"
    reader = photos(tmp_path)
    for seed in range(3):
        path.write_bytes(encoded(scene(80, 70, seed=seed), "PNG"))
        settled()
        for _ in range(2):
            photo = reader.read(path)
            reader.remember()
            assert np.array_equal(np.asarray(photo.image), np.asarray(decode(path, shrunk_to=SIDE)))


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_hold_the_same_whether_decoded_or_kept(tmp_path, settled, workers):
    for i in range(12):
        (tmp_path / f"{i}.jpg").write_bytes(encoded(scene(100 + i, 150 - 9 * i, seed=i)))
    (tmp_path / "5.jpg").write_bytes(b"<html>")
    settled()
    paths = PathTable.from_paths(tmp_path / f"{i}.jpg" for i in range(12))
    rows = [np.arange(7), np.arange(7, 12)]
    strong = augment.load("strong", SMALL_VIEW)
    for view in (lambda image, row: eval_view(image, SMALL_VIEW), lambda image, row: strong(image, seed=row)):
        readers = (Photos(Decoding(SIDE), workers=0), *(photos(tmp_path, workers=workers) for _ in range(2)))
        passes = [list(batches.batches(paths, rows, view, photos=reader)) for reader in readers]
        for fresh, *others in zip(*passes):
            for other in others:
                assert np.array_equal(fresh.pixels, other.pixels)
                assert fresh.rows.tolist() == other.rows.tolist()
                assert (fresh.sha256, fresh.bytes, fresh.faults) == (other.sha256, other.bytes, other.faults)
    assert all(Known(tmp_path / "cache" / "files.sqlite").contents([paths[row] for row in (0, 4, 6, 11)]))


@pytest.fixture
def decoded(monkeypatch):
    """The sizes of what is decoded, in turn."""
    sizes = []

    def counted(data, **options):
        image = decode(data, **options)
        sizes.append(image.size)
        return image

    monkeypatch.setattr(photos_module, "decode", counted)
    return sizes


def test_photos_in_memory_are_decoded_once_as_long_as_there_is_room_and_they_are_not_changed(
    tmp_path, settled, decoded
):
    for number, size in enumerate([(200, 150), (180, 200), (40, 30)]):
        scene(*size, seed=number).save(tmp_path / f"{number}.png")
    settled()
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    reader = Photos(Decoding(384), workers=0, held_bytes=150_000)
    for _ in range(3):
        for path in paths:
            assert np.array_equal(np.asarray(reader.read(path).image), np.asarray(Image.open(path)))
    assert [decoded.count(size) for size in [(200, 150), (180, 200), (40, 30)]] == [1, 3, 3]  # no room; too small
    scene(200, 150, seed=9).save(paths[0])
    settled()
    assert np.array_equal(np.asarray(reader.read(paths[0]).image), np.asarray(Image.open(paths[0])))
    paths[0].unlink()
    with pytest.raises(DecodeError):
        reader.read(paths[0])


def test_photos_that_are_read_once_are_not_kept_in_memory(tmp_path, settled, decoded):
    scene(200, 150).save(tmp_path / "a.png")
    settled()
    reader = Photos(Decoding(384), workers=0)
    assert [reader.read(tmp_path / "a.png").bytes for _ in range(2)] == 2 * [(tmp_path / "a.png").stat().st_size]
    assert len(decoded) == 2
