"""What files other than TIFF say of their values: how many bits of them are significant.

Sources: PNG (third edition), 11.3.2.7; Netpbm's pgm(5); ISO/IEC 15444-1, A.5.1.
"""

import re

from transferkit.data import png, sniff

PRECISION_AT = 42  # in a codestream of JPEG 2000: of the first colour, less 1; the upper bit is its sign


def png_bits(data: bytes) -> int:
    """The bits of a sample in a PNG; 0 if it is none."""
    return data[24] if data.startswith(png.SIGNATURE) and len(data) > 24 else 0


def may_be_deep(start: bytes) -> bool:
    """Whether a file that begins so may have 16 bits a sample and not say how many of them it uses."""
    if start.startswith((b"II*\0", b"MM\0*", *sniff.JPEG_2000)):
        return not is_scaled(start)
    return png_bits(start) == 16 or pnm_white(start) == 65535


def significant_bits(data: bytes) -> int:
    """The most significant bits of a colour that a 16-bit PNG states; 0 if it states none."""
    at = 8 if png_bits(data) == 16 else len(data)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"sBIT":
            bits = max(data[at + 8 : at + 8 + min(length, 3)], default=0)
            return bits if 8 <= bits <= 16 else 0
        if kind in (b"IDAT", b"PLTE"):
            break
        at += 12 + length
    return 0


def pnm_white(data: bytes) -> int | None:
    """The white of a portable greymap or pixmap; None if it is none."""
    if not re.match(rb"P[2356]\s", data):
        return None
    words = re.sub(rb"#[^\r\n]*", b" ", data[:1000]).split(maxsplit=4)
    return int(words[3][:6]) if len(words) > 3 and words[3].isdigit() else None


def is_scaled(data: bytes) -> bool:
    """Whether a reader brings the values of a file to 16 bits, as it says how many they have: PGM and JPEG 2000.

    One that says 16 may have been written so whatever its values are.
    """
    if (white := pnm_white(data)) is not None:
        return white < 65535
    at = data.find(sniff.JPEG_2000[0], 0, 1 << 16) if data.startswith(sniff.JPEG_2000) else -1
    return at >= 0 and at + PRECISION_AT < len(data) and (data[at + PRECISION_AT] & 0x7F) < 15
