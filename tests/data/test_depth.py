"""Values of 12 bits in files of 16 are as bright as they were meant, or it is said; what Pillow misreads is refused."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import transferkit as tk
from transferkit.data.decode import DecodeError, decode
from transferkit.data.depth import LARGEST, dim_words
from transferkit.data.photos import Decoding, Photos
from transferkit.data.store import Store
from transferkit.progress import Progress
from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import ModelFileError, UsageError

RAMP = np.linspace(0, 1, 32 * 24).reshape(24, 32)
GREY8 = np.round(RAMP * 255)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(pixels, *, significant=None):
    """A PNG of 16 bits a sample; `significant` is what its sBIT says."""
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    header = struct.pack(">IIBBBBB", width, height, 16, 0 if samples == 1 else 2, 0, 0, 0)
    said = chunk(b"sBIT", bytes([significant] * samples)) if significant else b""
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + said
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def tiff(pixels, *, photometric=1, planar=False, order="<", **more):
    """An uncompressed TIFF; `more`: `largest` (MaxSampleValue), `kind` (SampleFormat), `span` (S...SampleValue)."""
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    planes = [pixels[..., k] for k in range(samples)] if planar else [pixels]
    strips = [plane.astype(plane.dtype.newbyteorder(order)).tobytes() for plane in planes]
    start = 8
    offsets = [start + sum(map(len, strips[:k])) for k in range(len(strips))]
    end = start + sum(map(len, strips))
    entries, extra = [], b""
    tags = {256: [width], 257: [height], 258: [8 * pixels.itemsize] * samples, 259: [1], 262: [photometric]}
    tags |= {273: offsets, 277: [samples], 278: [height], 279: [len(strip) for strip in strips]}
    tags |= {281: [more["largest"]] * samples} if "largest" in more else {}
    tags |= {284: [2 if planar else 1], 339: [more.get("kind", 1)] * samples}
    tags |= {340: [more["span"][0]], 341: [more["span"][1]]} if "span" in more else {}
    for tag, found in tags.items():
        code = "I" if tag in (273, 279) else "h" if tag in (340, 341) else "H"
        packed = struct.pack(f"{order}{len(found)}{code}", *found)
        if len(packed) > 4:
            extra, packed = extra + packed, struct.pack(f"{order}I", end + len(extra))
        entries.append(
            struct.pack(f"{order}HHI", tag, {"I": 4, "H": 3, "h": 8}[code], len(found)) + packed.ljust(4, b"\0")
        )
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + struct.pack(f"{order}I", 0)
    mark = b"II" if order == "<" else b"MM"
    return struct.pack(f"{order}2sHI", mark, 42, end + len(extra)) + b"".join(strips) + extra + directory


def bits(count, *, shift=0):
    return np.round(RAMP * (2**count - 1)).astype(np.uint16) << shift


def grey(data, **options):
    return np.asarray(decode(data, **options))[..., 0].astype(float)


@pytest.mark.parametrize(
    "data",
    [
        png(bits(16)),
        png(bits(12), significant=12),
        png(bits(12, shift=4), significant=12),
        png(bits(12, shift=4) | (bits(12) >> 8), significant=12),
        png(bits(16), significant=16),
        tiff(bits(16)),
        tiff(bits(16), order=">"),
        tiff(65535 - bits(16), photometric=0),
        tiff(bits(12), largest=4095),
        tiff(bits(12), largest=4000),
        tiff(bits(11), largest=2047),
        tiff(4095 - bits(12), photometric=0, largest=4095),
        tiff(bits(16), largest=65535),
        tiff(bits(16), largest=999),
        tiff(bits(15).astype(np.int16), kind=2),
    ],
)
def test_what_a_file_says_of_its_values_is_believed_where_they_allow_it(data):
    assert np.abs(grey(data) - GREY8).max() <= 1
    said = grey(data, bit_depth=14 if b"sBIT" in data else None)
    assert np.abs(said - GREY8).max() <= 1


@pytest.mark.parametrize("make", [png, tiff])
def test_the_bit_depth_a_user_names_counts_where_the_file_says_nothing(make):
    assert grey(make(bits(12))).max() <= 16
    assert np.abs(grey(make(bits(12)), bit_depth=12) - GREY8).max() <= 1
    assert decode(make(bits(12))).info[LARGEST] == 4095
    assert LARGEST not in decode(make(bits(12)), bit_depth=12).info
    with pytest.raises(DecodeError, match="a value of 65535, which 12 bits do not hold"):
        decode(make(bits(16)), bit_depth=12)


def test_files_of_8_bits_have_no_other_depth():
    file = io.BytesIO()
    Image.fromarray(GREY8.astype(np.uint8)).save(file, "PNG")
    assert np.array_equal(grey(file.getvalue(), bit_depth=12), GREY8)
    assert LARGEST not in decode(file.getvalue()).info


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(np.zeros((8, 8), np.int8), kind=2), "signed 8-bit"),
        (tiff(np.zeros((8, 8), np.float32), kind=3, photometric=0), "zero is white"),
    ],
)
def test_what_pillow_would_misread_is_refused_with_the_reason(data, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(data)


def colours(count):
    return np.stack([bits(count), bits(count)[::-1], bits(count)[:, ::-1]], -1)


def far(data, values, white, **options):
    """The largest difference, of 255, from values up to white."""
    return np.abs(np.asarray(decode(data, **options)).astype(float) - values * (255 / white)).max()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [False, True])
def test_colours_of_16_bits_keep_their_upper_8(planar, order):
    values = colours(16)
    assert far(tiff(values, photometric=2, planar=planar, order=order), values, 65535) <= 1
    assert far(png(values), values, 65535) <= 1
    assert far(png(values, significant=16), values, 65535) <= 1


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [False, True])
def test_colours_of_12_bits_in_16_keep_them_where_their_depth_is_known(planar, order):
    values = colours(12)
    plain = tiff(values, photometric=2, planar=planar, order=order)
    for data in (plain, png(values)):
        assert decode(data).info[LARGEST] == 4095
        assert far(data, values, 4095, bit_depth=12) <= 0.51
    assert far(tiff(values, photometric=2, planar=planar, order=order, largest=4095), values, 4095) <= 0.51
    assert far(png(values, significant=12), values, 4095) <= 0.51
    assert far(png(values << 4, significant=12), values, 4095) <= 1
    with pytest.raises(DecodeError, match="a value of 4095, which 10 bits do not hold"):
        decode(png(values), bit_depth=10)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_colours_of_12_bits_are_those_that_opencv_reads(compression):
    cv2 = pytest.importorskip("cv2")
    code = {"tiff_lzw": 5, "tiff_adobe_deflate": 8}[compression]
    data = cv2.imencode(".tif", colours(12), [cv2.IMWRITE_TIFF_COMPRESSION, code])[1].tobytes()
    assert far(data, colours(12)[..., ::-1], 4095, bit_depth=12) <= 0.51


def test_a_pillow_image_of_12_bits_in_16_says_that_its_lower_bits_are_lost():
    opened = Image.open(io.BytesIO(tiff(colours(12), photometric=2, largest=4095)))
    with pytest.raises(DecodeError, match="only the upper 8 can be read"):
        decode(opened)


@pytest.mark.parametrize(
    ("values", "kind", "black", "white"),
    [
        (np.linspace(-1024, 3071, 64), np.int16, -1024, 3071),
        (np.linspace(-0.9, 0.8, 64), np.float32, -1, 1),
        (np.linspace(-30, 50, 64), np.float32, -30, 50),
        (np.full(64, -5), np.int16, -5, -4),
    ],
)
def test_values_below_zero_go_from_black_to_white_by_the_rule(values, kind, black, white):
    made = values.astype(kind).reshape(8, 8)
    data = tiff(made, kind=2 if kind is np.int16 else 3)
    assert np.abs(grey(data) - (made.astype(float) - black) * 255 / (white - black)).max() <= 0.51


def test_values_below_zero_go_from_the_smallest_to_the_largest_that_a_tiff_states():
    made = np.linspace(-800, 900, 64).astype(np.int16).reshape(8, 8)
    shares = (made.astype(float) + 1000) / 2000
    assert np.abs(grey(tiff(made, kind=2, span=(-1000, 1000))) - shares * 255).max() <= 0.51
    own = (made.astype(float) + 800) / 1700
    assert np.abs(grey(tiff(made, kind=2, span=(-100, 1000))) - own * 255).max() <= 0.51  # its values go beyond that


def test_greymaps_and_pixmaps_say_what_is_white():
    for values, white in ((bits(12), 4095), (bits(16), 65535), (bits(8), 255)):
        kind = ">u2" if white > 255 else "u1"
        head = b"%d %d\n# a note 9 9\n%d\n" % (32, 24, white)
        assert np.abs(grey(b"P5 " + head + values.astype(kind).tobytes()) - GREY8).max() <= 1
        plain = b"P2 " + head + " ".join(map(str, values.ravel())).encode() + b"\n"
        assert np.abs(grey(plain) - GREY8).max() <= 1
    assert np.abs(grey(b"P5 32 24 4095\n" + bits(12).astype(">u2").tobytes(), bit_depth=10) - GREY8).max() <= 1
    values = colours(16)
    assert far(b"P6 32 24 65535\n" + values.astype(">u2").tobytes(), values, 65535) <= 1
    values = colours(12)
    assert far(b"P6 32 24 4095\n" + values.astype(">u2").tobytes(), values, 4095) <= 1
    assert far(b"P6 32 24 65535\n" + values.astype(">u2").tobytes(), values, 4095, bit_depth=12) <= 0.51
    assert decode(b"P5 32 24 65535\n" + bits(12).astype(">u2").tobytes()).info[LARGEST] == 4095


def test_jpeg_2000_of_more_than_8_bits_is_as_bright_as_it_says():
    cv2 = pytest.importorskip("cv2")
    big = np.repeat(np.repeat(bits(16), 4, 0), 4, 1)
    data = cv2.imencode(".jp2", big, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes()
    assert np.abs(grey(data)[::4, ::4] - GREY8).max() <= 1
    dim = cv2.imencode(".jp2", big >> 4, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes()
    assert decode(dim).info[LARGEST] == 4095
    assert np.abs(grey(dim, bit_depth=12)[::4, ::4] - GREY8).max() <= 1


def test_jpeg_2000_that_says_12_bits_has_12():
    big = np.repeat(np.repeat(bits(12), 4, 0), 4, 1)
    file = io.BytesIO()
    Image.fromarray(big + np.uint16(32768 - 2048)).save(file, "JPEG2000", no_jp2=True)  # half of what there is, is 0
    said = bytearray(file.getvalue())
    assert said[42] == 15
    said[42] = 11
    assert np.abs(grey(bytes(said), bit_depth=10)[::4, ::4] - GREY8).max() <= 1
    assert LARGEST not in decode(bytes(said)).info


def test_words_are_said_where_most_images_of_a_part_are_dim():
    words = dim_words([4000, 300, 4095], of=5, what="test images")
    assert words.startswith("3 of 5 test images are files of 16 bits without a value above 4,095")
    assert "--bit-depth 12" in words
    assert "--bit-depth 10" in dim_words([1000], of=1, what="images")
    assert dim_words([4000, 4096], of=2, what="images") == ""
    assert dim_words([4000], of=3, what="images") == ""
    assert dim_words([], of=0, what="images") == ""


class Heard(Progress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def scans(digit_folder, tmp_path_factory):
    """The digits as 12-bit values in 16-bit files."""
    root = tmp_path_factory.mktemp("scans")
    for path in sorted(digit_folder.rglob("00?.png")):
        (root / path.parent.name).mkdir(exist_ok=True)
        values = np.asarray(Image.open(path).convert("L")).astype(np.uint16) << 4
        (root / path.parent.name / path.name).write_bytes(png(values))
    return root


def test_a_run_finds_the_depth_of_its_files_says_so_once_and_remembers_it(scans, digit_folder, tmp_path):
    options = {"backbone": "cifar_resnet", "strategy": "probe", "augment": "none", "cache_dir": tmp_path / "cache"}
    options |= {"l2": 0.01, "precision": "fp32"}
    for name in ("first", "again"):
        heard = Heard()
        run = tk.finetune(scans, out=tmp_path / name, progress=heard, **options)
        assert str(heard.lines).count("16 bits") == 1
        assert "30 images are files of 16 bits without a value above 4,080: read as values of 12 bits" in str(
            heard.lines
        )
    config = json.loads((run.folder / "model" / "config.json").read_text())
    assert config["transferkit"]["preprocessing"]["bit_depth"] == 12
    assert "one of 12 bits" in (run.folder / "model" / "README.md").read_text()
    heard = Heard()
    tk.finetune(scans, out=tmp_path / "dark", progress=heard, bit_depth=16, **options)
    assert "16 bits" not in str(heard.lines)

    photos = sorted(scans.rglob("*.png"))[:5]
    twins = [digit_folder / photo.relative_to(scans) for photo in photos]
    for a, b in zip(run.classifier.predict(photos), run.classifier.predict(twins)):
        assert (a.label, round(a.probability, 1)) == (b.label, round(b.probability, 1))
    onwards = tk.finetune(scans, out=tmp_path / "onwards", **options | {"backbone": str(run.folder)})
    config = json.loads((onwards.folder / "model" / "config.json").read_text())
    assert config["transferkit"]["preprocessing"]["bit_depth"] == 12


def test_a_classifier_says_that_images_are_dim_unless_their_depth_is_named(scans, tmp_path):
    photos = sorted(scans.rglob("*.png"))[:5]
    classifier = tk.load("cifar_resnet")
    classifier.predict(photos)
    assert classifier.depth_words(5).startswith("5 of 5 images are files of 16 bits")
    assert classifier.depth_words(5) == ""
    named = tk.load("cifar_resnet", bit_depth=12)
    named.predict(photos)
    assert named.depth_words(5) == ""
    with pytest.raises(UsageError, match="8 to 16"):
        tk.load("cifar_resnet", bit_depth=17)


def test_a_card_with_an_impossible_depth_is_refused():
    with pytest.raises(ModelFileError, match="bit_depth"):
        Preprocessing(bit_depth="12")


def test_a_text_in_a_file_is_no_depth():
    told = PngInfo()
    told.add_text(LARGEST, "5")
    written = io.BytesIO()
    Image.fromarray(GREY8.astype(np.uint8)).save(written, "png", pnginfo=told)
    assert LARGEST in Image.open(io.BytesIO(written.getvalue())).info
    assert LARGEST not in decode(written.getvalue()).info


def test_a_second_run_judges_depth_from_the_same_files_as_the_first(tmp_path):
    found = []
    (tmp_path / "bright.png").write_bytes(png(np.full((40, 40), 60000, np.uint16)))
    (tmp_path / "dim.png").write_bytes(png(np.full((40, 40), 3000, np.uint16)))
    for _ in range(2):
        photos = Photos(Decoding(16), workers=0, store=Store(tmp_path / "pixels", side=16, progress=Progress()))
        for name in ("bright.png", "dim.png"):
            photos.read(tmp_path / name)
        found.append(sorted(photos.largest.values()))
    assert found == [[3000, 60000]] * 2
