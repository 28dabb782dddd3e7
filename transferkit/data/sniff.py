"""What the first bytes of a file say that it is, for those that Pillow does not know."""

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
STRANGERS = (
    (b"<", "HTML or XML"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"8BPS", "Photoshop"),
    (b"%!PS", "PostScript"),
)
CONVERTED = (  # pictures of formats that are not read
    (b"v/1\x01", "OpenEXR"),
    (b"SIMPLE  =", "FITS"),
    (b"#?RADIANCE", "Radiance"),
    (b"NRRD000", "NRRD"),
    (b"\x93NUMPY", "NumPy"),
    (b"MATLAB 5.0", "MATLAB"),
    (b"BPG\xfb", "BPG"),
    (b"gimp xcf", "GIMP"),
    (b"\x89HDF", "HDF5"),
    (b"II\xbc\1", "JPEG XR"),
    (b"IIU\0", "raw camera"),
    (b"FUJIFILMCCD-RAW", "raw camera"),
    (b"IIRO", "raw camera"),
)
JPEG_2000 = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")
IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", *JPEG_2000)


def is_heic(data: bytes) -> bool:
    """Whether the first box names a HEVC brand; the brand mif1 alone may also be AVIF.

    Source: ISO/IEC 23008-12, section 10: length, "ftyp", major brand, version, compatible brands, four bytes each.
    """
    box = data[: min(int.from_bytes(data[:4], "big"), 256)]
    return box[4:8] == b"ftyp" and any(box[at : at + 4] in HEIC_BRANDS for at in range(8, len(box), 4))


def is_jpeg_xl(data: bytes) -> bool:
    """Whether it begins as a codestream or a container of JPEG XL. Source: ISO/IEC 18181-2."""
    return data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"))


def is_jpeg_2000(data: bytes) -> bool:
    """Whether it begins as a codestream or a file of JPEG 2000. Source: ISO/IEC 15444-1, A.4.1 and I.5.1."""
    return data.startswith(JPEG_2000)


def is_dicom(data: bytes) -> bool:
    """Whether the mark of DICOM stands behind a preamble of 128 bytes. Source: DICOM PS3.10, 7.1."""
    return data[128:132] == b"DICM"


def kind(data: bytes) -> str:
    """The reason why bytes that no reader knows are refused.

    >>> kind(b"<!DOCTYPE html>"), kind(b"hello")
    ('not an image (HTML or XML)', 'not an image')
    """
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, name in STRANGERS:
        if start.startswith(magic):
            return f"not an image ({name})"
    for magic, name in CONVERTED:
        if data.startswith(magic):
            return f"a file of {name}, which is not read; convert it to PNG or JPEG"
    if data[344:348] in (b"n+1\0", b"ni1\0"):
        return "a file of NIfTI, which is not read; convert its slices to PNG"
    return "damaged header" if data.startswith(IMAGE_STARTS) else "not an image"
