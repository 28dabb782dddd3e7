"""What a server takes, and how it says no."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one photo, one request and all requests together may have.

    Fields: photo_bytes and photo_pixels, of a photo; photos and body_bytes, of a request; requests, at work at the same
    time; held_bytes, of the bodies of all of them; patience_seconds, how long a body may take, and slowest_bytes, how
    many bytes of it earn another second.
    """

    photo_bytes: int = 20 << 20
    photo_pixels: int = 120_000_000  # the largest sensors of phones but one have 108 million
    photos: int = 32
    body_bytes: int = 64 << 20
    requests: int = 64
    held_bytes: int = 256 << 20
    patience_seconds: float = 20
    slowest_bytes: int = 16 << 10


class RefusedError(Exception):
    """A request that is not served; `status` is that of the answer."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status
