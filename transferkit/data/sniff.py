"""What the first bytes of a file say that it is, for those that Pillow does not know."""

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
STRANGERS = (
    (b"<", "HTML or XML"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"8BPS", "Photoshop"),
    (b"%!PS", "PostScript"),
)
IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"RIFF")


def is_heic(data: bytes) -> bool:
    """Whether the first box names a HEVC brand; the brand mif1 alone may also be AVIF.

    Source: ISO/IEC 23008-12, section 10: length, "ftyp", major brand, version, compatible brands, four bytes each.
    """
    box = data[: min(int.from_bytes(data[:4], "big"), 256)]
    return box[4:8] == b"ftyp" and any(box[at : at + 4] in HEIC_BRANDS for at in range(8, len(box), 4))


def kind(data: bytes) -> str:
    """The reason why bytes that no reader knows are refused.

    >>> kind(b"<!DOCTYPE html>"), kind(b"hello")
    ('not an image (HTML or XML)', 'not an image')
    """
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, name in STRANGERS:
        if start.startswith(magic):
            return f"not an image ({name})"
    return "damaged header" if data.startswith(IMAGE_STARTS) else "not an image"
