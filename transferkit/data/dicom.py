"""DICOM images to 8 bits as a viewer shows them first; pydicom reads the files (extra `medical`).

Of several frames the first is taken. Grey values go through the modality's rescaling, then through the first window,
else the first table of values of interest (VOI LUT). Without either, black to white are the values that `BitsStored`
holds; of values that may be negative, the photo's own least and largest. MONOCHROME1 is inverted.
Source: DICOM PS3.3, C.11.1 (modality), C.11.2 (window), C.7.6.3 (pixels).
"""

import functools
import importlib
import io
import logging
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from transferkit.data import sniff
from transferkit.data.source import DecodeError

HEADER_BYTES = 4096  # of which the file's own elements take a few hundred
ADVICE = "save it uncompressed, as gdcmconv --raw does"
DEFLATED: str = "1.2.840.10008.1.2.1.99"
FRAME_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
FRAME_PARTS = ("FrameVOILUTSequence", "PixelValueTransformationSequence")
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)  # above which Pillow calls other files bombs


def image(data: bytes) -> Image.Image:
    """The grey or RGB image in the bytes of a DICOM file.

    Raises: DecodeError with the reason; of damaged files also whatever pydicom raises.
    """
    pydicom = _library()
    if pydicom is None:
        raise DecodeError("DICOM image: pip install 'transferkit[medical]' to read it")
    syntax = _syntax(pydicom, data)
    found = pydicom.dcmread(io.BytesIO(data))
    if "Rows" not in found or "Columns" not in found or not _has_pixels(found):
        raise DecodeError("DICOM file without an image")
    if found.Rows * found.Columns > MOST_PIXELS:
        raise DecodeError("more pixels than the limit of 179 million")
    pixels = _pixels(pydicom, found, syntax)
    if found.PhotometricInterpretation == "PALETTE COLOR":
        indexed = pydicom.pixels.apply_color_lut(pixels, found)
        made = indexed[..., :3] / np.iinfo(indexed.dtype).max
    elif found.SamplesPerPixel == 1:
        made = _grey(pydicom, found, pixels)
    else:
        made = np.clip(pixels[..., :3] / (2.0**found.BitsStored - 1), 0, 1)
    shown = Image.fromarray(np.round(made * 255).astype(np.uint8))
    shown.format = "DICOM"
    return shown


@functools.cache
def _library() -> ModuleType | None:
    try:
        library = importlib.import_module("pydicom")
        importlib.import_module("pydicom.pixels")
    except ImportError:
        return None
    logging.getLogger("pydicom").addHandler(logging.NullHandler())  # else Python prints what it logs
    return library


def _syntax(pydicom: ModuleType, data: bytes) -> str:
    """How the pixels are compressed, "" if they are not. Raises: DecodeError for what is not read."""
    _, mark, rest = data[132:HEADER_BYTES].partition(b"\x02\0\x10\0UI")  # (0002,0010), always little-endian
    length = int.from_bytes(rest[:2], "little")
    syntax = pydicom.uid.UID(rest[2 : 2 + length].decode("ascii", "replace").strip("\0 "))
    if not mark or (syntax.is_transfer_syntax and not syntax.is_compressed and syntax != DEFLATED):
        return ""
    try:
        is_read = syntax != DEFLATED and pydicom.pixels.get_decoder(syntax).is_available  # deflated is of any size
    except NotImplementedError:
        is_read = False
    name = syntax.name if syntax.is_transfer_syntax else "a way that is not known"
    is_boxed = sniff.JPEG_2000[1] in data  # DICOM wants the codestream alone; pydicom 3.0.2 may read boxes for ever
    if not is_read or is_boxed:
        raise DecodeError(f"DICOM compressed by {name}, which is not read; {ADVICE}")
    return name


def _pixels(pydicom: ModuleType, found: Any, syntax: str) -> np.ndarray:
    """The stored values of the first frame; colours in RGB."""
    try:
        return pydicom.pixels.pixel_array(found, index=0)
    except RuntimeError as error:  # of the packages that unpack
        raise DecodeError(f"DICOM compressed by {syntax}, damaged or of a kind that is not read; {ADVICE}") from error


def _has_pixels(found: Any) -> bool:
    return any(name in found for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def _grey(pydicom: ModuleType, found: Any, stored: np.ndarray) -> np.ndarray:
    """Shares of white, shape (H, W)."""
    window, modality = (_holder(found, *names) for names in (("WindowCenter", "WindowWidth"), ("RescaleSlope",)))
    values = pydicom.pixels.apply_modality_lut(stored, found if "ModalityLUTSequence" in found else modality)
    if "WindowCenter" in window and "WindowWidth" in window:
        shares = _windowed(values.astype(float), window)
    elif "VOILUTSequence" in window:
        shares = _looked_up(values, window.VOILUTSequence[0])
    elif stored.dtype.kind == "u":
        shares = stored / (2.0**found.BitsStored - 1)
    else:
        low, high = float(values.min()), float(values.max())
        shares = (values - low) / (high - low or 1.0)
    if not np.isfinite(shares).all():
        raise DecodeError("pixel values that are not finite")
    shares = np.clip(shares, 0, 1)
    return 1 - shares if found.PhotometricInterpretation == "MONOCHROME1" else shares


def _looked_up(values: np.ndarray, table: Any) -> np.ndarray:
    """Shares of white by a table; those outside have its first or last. Source: DICOM PS3.3, C.11.2.1.1.

    pydicom 3.0.2 counts the entries of tables of 8 bits in 8 bits.
    """
    _, first, bits = table.LUTDescriptor
    entries = table.LUTData
    entries = np.frombuffer(entries, "<u2") if isinstance(entries, bytes) else np.asarray(entries)
    return entries[np.clip(values - first, 0, len(entries) - 1).astype(int)] / (2.0**bits - 1)


def _windowed(values: np.ndarray, window: Any) -> np.ndarray:
    """Shares of white by the first window. Source: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    centre, width = (_first(window[name].value) for name in ("WindowCenter", "WindowWidth"))
    function = window.get("VOILUTFunction") or "LINEAR"
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return np.clip((values - centre) / width + 0.5, 0, 1) if width > 0 else (values > centre).astype(float)


def _holder(found: Any, *names: str) -> Any:
    """The part of a file that has these elements for its first frame; the file itself if none has."""
    frames = [found[group].value[0] for group in FRAME_GROUPS if group in found and found[group].value]
    parts = [frame[part].value[0] for frame in frames for part in FRAME_PARTS if part in frame and frame[part].value]
    return next((part for part in parts if all(name in part for name in names)), found)


def _first(value: Any) -> float:
    """A number, or the first of several."""
    return float(value if isinstance(value, (int, float)) else value[0])
