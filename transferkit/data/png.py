"""PNG files with more text than Pillow reads: an editor's history beside the pixels does no harm.

Source: PNG (third edition), 5.3 and 11.3.3.
"""

import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
LONGEST = 1 << 20  # bytes of a text or of a colour profile, as Pillow has it
MOST = 32 << 20  # of all of them; Pillow refuses 64 MB


def without_long_texts(data: bytes) -> bytes:
    """The file without the texts and the colour profile that are longer than `LONGEST`; any other file as it is."""
    if not data.startswith(SIGNATURE):
        return data
    kept, start, room, at = [], 0, MOST, len(SIGNATURE)
    while at + 12 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if kind in TEXTS:
            size = _size(kind, data[at + 8 : end - 4]) if room > 0 else MOST
            room -= min(size, LONGEST)
            if size > LONGEST:
                kept.append(data[start:at])
                start = end
        at = end
    return b"".join([*kept, data[start:]]) if kept else data


def _size(kind: bytes, content: bytes) -> int:
    """How long a text is when unpacked, no more of which is unpacked than tells that it is too long."""
    _, _, rest = content.partition(b"\0")  # behind the keyword
    if kind == b"tEXt" or len(content) > LONGEST or (kind == b"iTXt" and rest[:1] != b"\1"):
        return len(content)
    packed = rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" else rest[1:]  # behind two languages, or a method
    try:
        return len(zlib.decompressobj().decompress(packed, LONGEST + 1))
    except zlib.error:
        return len(content)
