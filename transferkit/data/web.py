"""A photo behind a URL of the web, which is fetched to be predicted, and never to be trained on."""

import os
import re
import urllib.error
import urllib.request
from http.client import HTTPException

from transferkit.data import remote
from transferkit.data.source import MAX_FILE_BYTES, DecodeError, Member

URL = re.compile(r"https?:/+[^/]", re.IGNORECASE)
SILENT_SECONDS = 20  # of a server, until it is given up
AGENT = "transferkit"  # some servers refuse that of Python's library


def is_photo(path: str) -> bool:
    """Whether a path is a URL of the web, and no place in a tar there.

    >>> is_photo("https://host/cat.jpg"), is_photo("cat.jpg"), is_photo("https://host/000.tar:1536+48211/cat.jpg")
    (True, False, False)
    """
    return URL.match(path) is not None and Member.of(path) is None and not os.path.lexists(path)


def fetch(path: str) -> bytes:
    """The bytes of the photo behind a URL. Raises: DecodeError if there is no answer, or over 1 GB."""
    try:
        request = urllib.request.Request(remote.url(path), headers={"User-Agent": AGENT})
        with urllib.request.urlopen(request, timeout=SILENT_SECONDS) as answer:
            data = answer.read(MAX_FILE_BYTES + 1)
            said = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise DecodeError(f"its server answers {error.code}, {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a URL that is none
        reason = getattr(error, "reason", None) or error
        raise DecodeError(f"cannot be fetched: {' '.join(str(reason).split()) or type(error).__name__}") from error
    if len(data) > MAX_FILE_BYTES:
        raise DecodeError(f"larger than {MAX_FILE_BYTES >> 20} MB")
    if said and said.isdigit() and len(data) < int(said):  # an answer read in parts does not tell
        raise DecodeError(f"cannot be fetched: cut off after {len(data):,} of {int(said):,} bytes")
    return data
