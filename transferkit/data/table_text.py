"""The rows of a text: CSV by any usual separator, or JSON Lines; in UTF-8, UTF-16 or the code page of Windows."""

import codecs
import contextlib
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.data import entries, sniff
from transferkit.data.cells import original
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable

HEAD_BYTES = 4096
BLOCK_CHARACTERS = 1 << 20
SEPARATORS = (",", ";", "\t")  # no bar, which stands between the labels of an image
UTF_32, UTF_16, UTF_8 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-8"
WINDOWS = "cp1252"
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
BEYOND_ASCII = re.compile("[\x80-\ud7ff\ue000-\U0010ffff]")
ESCAPED = re.compile("[\udc80-\udcff]+")  # bytes that are no UTF-8, by PEP 383
SEPARATOR_LINE = re.compile("sep=(.)\r?\n", re.IGNORECASE)  # which Excel reads, and writes
NOT_READ = {".parquet": "Parquet", ".arrow": "Arrow", ".feather": "Arrow", ".xlsx": "an Excel workbook"}

Fit = Callable[[Sequence[str]], int]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that can be read more than once. Fields: columns, their names as they stand; notes, how it was read."""

    source: Path
    encoding: str
    separator: str  # "" of JSON Lines
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The number of each line and its values by column; rows in which all are empty are passed over.

        Raises: DataError naming the line that cannot be read.
        """
        return self._csv_rows() if self.separator else _objects(self.source, self.encoding)

    def _csv_rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        with _opened(self.source, self.encoding) as file:
            skipped = _skip_separator_line(file)
            reader = csv.reader(file, delimiter=self.separator, strict=True)
            try:
                next(reader, None)
                for values in reader:
                    line = reader.line_num + skipped
                    if not any(values):
                        continue
                    if len(values) != len(self.columns):
                        quoted = "; a value that holds the separator stands in quotes" * (
                            len(values) > len(self.columns)
                        )
                        words = f"{len(values)} values for {len(self.columns)} columns{quoted}"
                        raise DataError(f"{self.source}, line {line}: {words}")
                    yield line, dict(zip(self.columns, map(original, values)))
            except csv.Error as error:
                line = reader.line_num + skipped
                raise DataError(f"{self.source}, line {line}: not valid CSV: {error}") from error


def read(source: Path, *, fit: Fit) -> Table:
    """What kind of table a file is, and its columns.

    Args: fit, how well a list of columns can be used; it decides between separators.
    Raises: DataError if it is no text, or no table.
    """
    with open(source, "rb") as file:
        head = file.read(HEAD_BYTES)
    _check_start(source, head)
    encoding, notes = _encoding(source, head)
    with _opened(source, encoding) as file:
        start = file.read(HEAD_BYTES).lstrip()
    if start.startswith("[") and source.suffix.casefold() in (".json", ".jsonl", ".ndjson"):
        raise DataError(f"{source} is one JSON array; JSON Lines is read: an object in each line, in no brackets")
    if start.startswith("{"):
        names = {name: None for _, row in _objects(source, encoding) for name in row}  # a row may lack some
        return Table(source=source, encoding=encoding, separator="", columns=tuple(names), notes=notes)
    found = {separator: _header(source, encoding, separator) for separator in SEPARATORS}
    separator = max(found, key=lambda each: (fit(found[each]), len(found[each])))
    return Table(source=source, encoding=encoding, separator=separator, columns=tuple(found[separator]), notes=notes)


@contextlib.contextmanager
def _opened(source: Path, encoding: str) -> Iterator[io.TextIOWrapper]:
    """The file as text. Raises: DataError where not all that is read of it is."""
    errors = "surrogateescape" if encoding.startswith(UTF_8) else "strict"  # a path may be any bytes
    try:
        with open(source, encoding=encoding, errors=errors, newline="") as file:
            yield file
    except UnicodeError as error:
        words = f"not all of it is text in {encoding.upper()}"
        raise DataError(f"{source} is damaged or cut off: {words}; save it as UTF-8") from error


def _skip_separator_line(file: io.TextIOWrapper) -> int:
    """Pass over a first line that names the separator; how many lines that are."""
    if SEPARATOR_LINE.fullmatch(file.readline(16)):
        return 1
    file.seek(0)
    return 0


def _header(source: Path, encoding: str, separator: str) -> list[str]:
    with _opened(source, encoding) as file:
        _skip_separator_line(file)
        try:
            return [original(cell) for cell in next(csv.reader(file, delimiter=separator, strict=True), [])]
        except csv.Error:  # as of "path","label" by semicolons
            return []


def _objects(source: Path, encoding: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with _opened(source, encoding) as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                row = error
            if not isinstance(row, dict):
                words = "no object of JSON; JSON Lines has a whole one in each line"
                raise DataError(f"{source}, line {line}: {words}")
            yield line, row


def _check_start(source: Path, head: bytes) -> None:
    """Raises: DataError if a file that begins like this is no text; nothing of it is shown."""
    kind = sniff.kind(head)
    suffix = source.suffix.casefold()
    if kind == "damaged header" or (entries.is_image(source.name) and (CONTROL.search(head) or not head.isascii())):
        raise DataError(
            f"{source} is a photo; name the folder that holds the class folders, or a table (CSV) that lists photos"
        )
    advice = "expected: a folder of class folders or a table in text (CSV, JSON Lines) with the columns path,label"
    if suffix in NOT_READ and not head.isascii():
        raise DataError(f"{source} is {NOT_READ[suffix]}, which is not read; {advice}")
    is_wide = head.startswith((*UTF_32, *UTF_16)) or _wide(head)
    if kind.endswith(")") or (CONTROL.search(head) and not is_wide):
        what = kind.removeprefix("not an image").strip(" ()") or "no text"
        raise DataError(f"{source} is {what}; {advice}")


def _encoding(source: Path, head: bytes) -> tuple[str, tuple[str, ...]]:
    """The encoding, by the mark that the file begins with, by zeros in it, or by all that is in it; and a note.

    Text in which nothing beyond ASCII is UTF-8 is that of Windows; where some is, other bytes are those of a file name.
    """
    if head.startswith(UTF_32):
        return "utf-32", ()
    if head.startswith(UTF_16):
        return "utf-16", ()
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig", ()
    if wide := _wide(head):
        return wide, ()
    example = ""
    with _opened(source, UTF_8) as file:
        while text := file.read(BLOCK_CHARACTERS):
            if BEYOND_ASCII.search(text):
                return UTF_8, ()
            if not example and (found := ESCAPED.search(text)):
                example = text[max(found.start() - 12, 0) : found.end() + 12]
    if not example:
        return UTF_8, ()
    try:
        with _opened(source, WINDOWS) as file:
            while file.read(BLOCK_CHARACTERS):
                pass
        shown = example.encode(errors="surrogateescape").decode(WINDOWS).split("\n")
    except (DataError, UnicodeError):  # five bytes mean nothing there
        return UTF_8, ()
    words = printable(max(shown, key=lambda part: not part.isascii()).strip())
    return WINDOWS, (f"{source.name} is not in UTF-8, so it is read as Windows has it ({WINDOWS}): {words!r}",)


def _wide(head: bytes) -> str:
    """UTF-16 without a mark, as by the zeros in ASCII; "" if it is not that."""
    if not head or CONTROL.search(head) is None:
        return ""
    even, odd = head[::2], head[1::2]
    for encoding, letters, zeros in (("utf-16-le", even, odd), ("utf-16-be", odd, even)):
        if zeros.count(0) > 0.6 * len(zeros) and not letters.count(0):
            return encoding
    return ""
