"""The photos in the body of a request: files of a form, or JSON with base64."""

import base64
import binascii
from dataclasses import dataclass

import msgspec

from transferkit.data import formats, sniff
from transferkit.data.source import DecodeError
from transferkit.ship.serving.limits import Limits, RefusedError

MOST_FIELDS = 32  # of a form, beside its files
FORM, JSON = "multipart/form-data", "application/json"


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo as it came: its name, and the bytes of its file, or why it is not looked at."""

    name: str
    data: bytes = b""
    fault: str | None = None


class Images(msgspec.Struct):
    """The body {"images": [BASE64, ...]}; each may begin with `data:image/png;base64,` or the like."""

    images: list[str]


def photos(kind: str, body: bytes, limits: Limits) -> list[Photo]:
    """Every photo of a body, in order; one beyond a limit is a fault of that photo.

    Args: kind, the content type of the request.
    Raises: RefusedError if it is neither of the two kinds, damaged, empty, or has too many photos.
    """
    name = kind.partition(";")[0].strip().lower()
    if name == FORM:
        found = _of_form(kind, body, limits)
    elif name == JSON:
        found = _of_json(body, limits)
    else:
        raise RefusedError(415, f"the body is {FORM} with files, or {JSON}: " + '{"images": [BASE64, ...]}')
    if not found:
        raise RefusedError(422, "no photo is in this request")
    return [_checked(photo, limits) for photo in found]


def _of_form(kind: str, body: bytes, limits: Limits) -> list[Photo]:
    from python_multipart import exceptions
    from python_multipart.multipart import Field, File, FormParser, parse_options_header

    found: list[Photo] = []
    fields: list[Field] = []
    ends: list[bool] = []

    def take(file: File) -> None:
        _count(len(found) + 1, limits)
        file.file_object.seek(0)
        found.append(Photo(name=(file.file_name or b"").decode("utf-8", "replace"), data=file.file_object.read()))
        file.close()

    def skip(field: Field) -> None:
        fields.append(field)
        if len(fields) > MOST_FIELDS:
            raise RefusedError(413, f"more than {MOST_FIELDS} fields")

    boundary = parse_options_header(kind)[1].get(b"boundary")
    try:
        in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}  # nothing of it goes to a disk
        parser = FormParser(FORM, skip, take, lambda: ends.append(True), boundary=boundary, config=in_memory)
        parser.write(body)
        parser.finalize()
    except (exceptions.FormParserError, ValueError) as error:
        raise RefusedError(400, "the form is damaged") from error
    if not ends:  # its last photo would be missing without a word
        raise RefusedError(400, "the form is cut off: its last boundary is missing")
    return found


def _of_json(body: bytes, limits: Limits) -> list[Photo]:
    try:
        images = msgspec.json.decode(body, type=Images).images
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise RefusedError(400, f'the body is not {{"images": [BASE64, ...]}}: {reason}') from error
    _count(len(images), limits)
    return [_from_base64(f"images[{number}]", image) for number, image in enumerate(images)]


def _from_base64(name: str, text: str) -> Photo:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return Photo(name=name, data=base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):  # ValueError: it has characters beyond ASCII
        return Photo(name=name, fault="not base64")


def _count(photos: int, limits: Limits) -> None:
    if photos > limits.photos:
        raise RefusedError(413, f"more than {limits.photos} photos in one request; send the rest in another")


def _checked(photo: Photo, limits: Limits) -> Photo:
    """The photo, without its bytes if it is beyond a limit."""
    if len(photo.data) > limits.photo_bytes:
        return Photo(name=photo.name, fault=f"larger than {limits.photo_bytes / (1 << 20):g} MB")
    if photo.fault or not photo.data or sniff.is_dicom(photo.data):  # a DICOM file has a limit of its own
        return photo
    try:
        with formats.opened(photo.data) as image:
            pixels = image.width * image.height
    except DecodeError as error:
        return Photo(name=photo.name, fault=str(error))
    if pixels > limits.photo_pixels:
        return Photo(name=photo.name, fault=f"more pixels than the limit of {limits.photo_pixels / 1e6:g} million")
    return photo
