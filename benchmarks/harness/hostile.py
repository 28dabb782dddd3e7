"""Requests with errors in body and head, and bytes that are no request: always the same."""

import random
from collections.abc import Iterator, Sequence

EDGE = "edge-of-a-part"
KINDS = (f"multipart/form-data; boundary={EDGE}", "application/json", "multipart/form-data; boundary=", "x/\x01y")


def form(files: Sequence[tuple[str, bytes]]) -> bytes:
    """The body of a form with files, of names and contents."""
    head = f'--{EDGE}\r\nContent-Disposition: form-data; name="photos"; filename='
    parts = [f'{head}"{name}"\r\n\r\n'.encode() + data + b"\r\n" for name, data in files]
    return b"".join(parts) + f"--{EDGE}--\r\n".encode()


def posted(body: bytes, *, kind: str = KINDS[0], length: int | None = None, more: str = "") -> bytes:
    """A request that sends a body to /predict, as bytes; `more` are lines of its head."""
    length = len(body) if length is None else length
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {length}\r\n{more}\r\n".encode("latin-1") + body


def requests(count: int) -> Iterator[bytes]:
    """So many of them: bytes changed, cut off, with a length that is wrong, too large, nested, with endless heads."""
    draw = random.Random(0)
    bodies = [form([("a.png", b"\x89PNG\r\n\x1a\n" + draw.randbytes(200)), ("b", b"")]), b'{"images": ["AAAA", "%%"]}']
    bodies += [b"\r\n--" * 20_000, f"--{EDGE}\r\n".encode() * 5000, b'{"images": [' + b"{" * 5000, b"\0" * 70_000]
    for number in range(count):
        body = bytearray(draw.choice(bodies))
        for _ in range(draw.randrange(1, 9)):
            body[draw.randrange(len(body))] = draw.randrange(256)
        length = draw.choice([len(body), len(body), len(body) - 1, len(body) + 5, -1, 10**30])
        more = f"X-Pad: {'p' * draw.choice([1, 70_000])}\r\n" * (number % 7 == 0)
        sent = bytes(body[: draw.randrange(len(body) + 1)] if number % 3 else body)
        yield posted(sent, kind=draw.choice(KINDS), length=length, more=more)
