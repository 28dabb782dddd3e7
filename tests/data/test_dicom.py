"""DICOM files are shown as their window says, and what cannot be read is refused in a line that says what to do."""

import io
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transferkit.data import dicom, formats
from transferkit.data.decode import DecodeError, decode

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, generate_uid  # noqa: E402

RAMP = np.linspace(0, 4095, 16 * 12).round().reshape(12, 16)
DEFLATED = UID("1.2.840.10008.1.2.1.99")


def written(pixels, *, bits=12, syntax=ExplicitVRLittleEndian, frames=None, **elements):
    """The bytes of a DICOM file of these stored values."""
    shape = pixels.shape[1:] if frames else pixels.shape
    found = Dataset()
    found.Rows, found.Columns = shape[:2]
    found.SamplesPerPixel = 1 if len(shape) == 2 else 3
    found.PhotometricInterpretation = "MONOCHROME2" if len(shape) == 2 else "RGB"
    found.BitsAllocated, found.BitsStored, found.HighBit = 8 * pixels.itemsize, bits, bits - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    if len(shape) == 3:
        found.PlanarConfiguration = 0
    if frames:
        found.NumberOfFrames = frames
    for name, value in elements.items():
        setattr(found, name, value)
    found.PixelData = pixels.tobytes()
    found["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    found.file_meta = FileMetaDataset()
    found.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    found.file_meta.TransferSyntaxUID = syntax
    if syntax.is_encapsulated:
        found.PixelData = pydicom.encaps.encapsulate([found.PixelData])
        found["PixelData"].is_undefined_length = True
    file = io.BytesIO()
    pydicom.dcmwrite(file, found, enforce_file_format=True)
    return file.getvalue()


def grey(data):
    pixels = np.asarray(decode(data))
    assert (pixels[..., 0] == pixels[..., 2]).all()
    return pixels[..., 0].astype(float)


def far(data, shares):
    return np.abs(grey(data) - np.clip(shares, 0, 1) * 255).max()


BOXED = np.frombuffer(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(84), np.uint8).reshape(8, 12)  # and a box of length 0
UNSIGNED, SIGNED = RAMP.astype(np.uint16), (RAMP - 1024).astype(np.int16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 1000}


@pytest.mark.parametrize(
    ("data", "shares"),
    [
        (written(UNSIGNED), RAMP / 4095),
        (written(UNSIGNED, PhotometricInterpretation="MONOCHROME1"), 1 - RAMP / 4095),
        (written(UNSIGNED, **WINDOW), (RAMP - 2047.5) / 999 + 0.5),
        (written(UNSIGNED, PhotometricInterpretation="MONOCHROME1", **WINDOW), 0.5 - (RAMP - 2047.5) / 999),
        (written(UNSIGNED, WindowCenter=[2048, 9], WindowWidth=[1000, 9]), (RAMP - 2047.5) / 999 + 0.5),
        (written(UNSIGNED, VOILUTFunction="LINEAR_EXACT", **WINDOW), (RAMP - 2048) / 1000 + 0.5),
        (written(UNSIGNED, VOILUTFunction="SIGMOID", **WINDOW), 1 / (1 + np.exp(-4 * (RAMP - 2048) / 1000))),
        (written(UNSIGNED, WindowCenter=2048, WindowWidth=1), (RAMP > 2047.5) * 1.0),
        (
            written(UNSIGNED, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400),
            (2 * RAMP - 1024 - 39.5) / 399 + 0.5,
        ),
        (written(SIGNED, bits=16), RAMP / 4095),
        (written(np.full((8, 8), -7, np.int16), bits=16), np.zeros((8, 8))),
        (written(SIGNED, bits=16, WindowCenter=40, WindowWidth=400), (RAMP - 1024 - 39.5) / 399 + 0.5),
        (written(np.stack([UNSIGNED, 0 * UNSIGNED]), frames=2), RAMP / 4095),
        (written((RAMP / 16).astype(np.uint8), bits=8), (RAMP / 16).astype(np.uint8) / 255),
    ],
)
def test_grey_is_what_the_standard_says(data, shares):
    assert far(data, shares) <= 0.51


def test_a_window_of_the_first_frame_is_found_in_its_group():
    frame, window = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 2048, 1000
    frame.FrameVOILUTSequence = [window]
    data = written(np.stack([UNSIGNED, UNSIGNED]), frames=2, PerFrameFunctionalGroupsSequence=[frame, Dataset()])
    assert far(data, (RAMP - 2047.5) / 999 + 0.5) <= 0.51


def test_a_table_of_values_of_interest_is_obeyed_where_there_is_no_window():
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 8], [255 - value // 16 for value in range(4096)]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    assert far(written(UNSIGNED, VOILUTSequence=[table]), (255 - UNSIGNED // 16) / 255) <= 0.51


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_colours_are_rgb(kind):
    bits = 8 if kind is np.uint8 else 12
    white = 2**bits - 1
    pixels = np.random.default_rng(0).integers(0, white + 1, (6, 5, 3)).astype(kind)
    found = np.asarray(decode(written(pixels, bits=bits))).astype(float)
    assert np.abs(found - pixels * (255 / white)).max() <= 0.51


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (written(UNSIGNED, syntax=JPEGLSLossless), r"DICOM compressed by JPEG-LS .*not read; save it uncompressed"),
        (written(UNSIGNED, syntax=JPEG2000Lossless), r"JPEG 2000 .*damaged .*; save it uncompressed"),
        (written(UNSIGNED).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"), "not known, which is not read"),
        (written(UNSIGNED).replace(b"UI\x14\x001.2.840", b"UI\x00\x031.2.840"), "not known, which is not read"),
        (written(BOXED, syntax=JPEG2000Lossless), "not read"),
        (bytes(128) + b"DICM" + bytes(50), "DICOM file without|damaged"),
        (written(UNSIGNED)[:-100], "damaged"),
        (written(np.zeros((1, 9), np.uint8), bits=8), "9 x 1 px"),
        (written(UNSIGNED, Rows=60000, Columns=60000), "179 million"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_line(data, reason):
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(data)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_only_peeked_at_has_its_size():
    seen = formats.peeked(io.BytesIO(written(UNSIGNED)))
    assert (seen.size, seen.format) == ((16, 12), "DICOM")


def test_what_may_unpack_to_any_size_is_not_unpacked():
    data = written(np.zeros((2000, 2000), np.uint16), syntax=DEFLATED)
    assert len(data) < 20_000
    with pytest.raises(DecodeError, match="Deflated"):
        decode(data)


def test_a_file_without_an_image_is_told_so():
    found = pydicom.dcmread(io.BytesIO(written(UNSIGNED)))
    del found.PixelData
    file = io.BytesIO()
    found.save_as(file)
    with pytest.raises(DecodeError, match="without an image"):
        decode(file.getvalue())


def test_the_refusal_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setattr(dicom, "_library", dicom._library.__wrapped__)
    with pytest.raises(DecodeError, match=r"pip install 'transferkit\[medical\]'"):
        decode(written(UNSIGNED))


WHOLE = written(UNSIGNED, RescaleSlope=2, RescaleIntercept=-1024, **WINDOW)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.integers(132, len(WHOLE)), st.binary(max_size=6))
def test_damaged_bytes_raise_nothing_but_a_reason(at, noise):
    for data in (WHOLE[:at], WHOLE[:at] + noise + WHOLE[at + len(noise) :]):
        try:
            assert decode(data).mode == "RGB"
        except DecodeError as error:
            assert "\n" not in str(error)  # noqa: PT017
