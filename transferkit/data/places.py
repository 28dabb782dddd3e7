"""Where the photos of a table are: as written, or found by their name in the folders beside it."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from transferkit.data import entries, tree
from transferkit.data.parts import THINGS, part_of
from transferkit.data.source import Member, join
from transferkit.data.table_text import WINDOWS
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable

HOLDS_IMAGES = re.compile(rf"(?:all|raw|full)?(?:{THINGS})")
DEEP = 2  # folders in folders that are searched: images/train/


class Places:
    """Finds the photos of one table; a folder is listed once.

    Fields: found, how many; example, of one that was found by its name; first_missing, that is nowhere; "" for none.
    """

    def __init__(self, table: Path, *, encoding: str = "utf-8"):
        self._table = table
        self._root = str(table.parent)
        self._own_part = part_of(table.stem) or "train"
        self._encoding = encoding
        self._listed: dict[str, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}
        self._folders: dict[str, list[str]] = {}
        self.found = 0
        self.example = ""
        self.first_missing = ""

    def find(self, written: str, part: str, where: str) -> str:
        """The path of a photo that is `written` in a row of a part; where none is, the one that it would have.

        As written, it counts from the table's folder; with back-slashes for slashes; else a name is searched, without
        regard to case, and to the suffix if it has none, in that folder and those beside the table that are called
        like the part, or like images.

        Raises: DataError if it is in two places, or on the web; the message begins with `where`.
        """
        path = os.path.join(self._root, written)
        if os.path.isfile(path):
            self.found += 1
            return path
        if Member.of(written) is not None:
            self.found += 1
            return join(self._table.parent, written)
        if tree.URL.match(written) and "://" in written:
            raise DataError(f"{where}: {printable(written)[:120]} is a URL; download the photos and name the files")
        slashed = written.replace("\\", "/")
        for other in self._spellings(written, slashed):
            if os.path.isfile(other):
                self.found += 1
                return other
        found = self._search(slashed, part)
        if len(found) > 1:
            names = " or ".join(printable(self._relative(each)) for each in found[:3])
            raise DataError(f"{where}: {printable(repr(written))} may be {names}; write it with its folder and suffix")
        if found:
            self.found += 1
            self.example = self.example or f"{printable(repr(written))} is {printable(self._relative(found[0]))}"
            return found[0]
        self.first_missing = self.first_missing or written
        return path if os.path.lexists(path) else join(self._table.parent, slashed)

    def searched(self, part: str) -> str:
        """The folders that are searched for photos of a part, in words."""
        inner = [f"{self._relative(folder)}/" for folder in self._within(part)[1:]]
        return printable(self._root) + (f" and, in it, {', '.join(inner[:6])}" if inner else "")

    def _spellings(self, written: str, slashed: str) -> Iterator[str]:
        """Paths that may be meant by one that is not there as it is written."""
        if slashed != written:
            yield os.path.join(self._root, slashed)
        if slashed.startswith("~"):
            yield join(self._table.parent, slashed)
        if self._encoding == WINDOWS and not written.isascii():
            yield os.path.join(self._root, os.fsdecode(written.encode(WINDOWS)))  # a name on disk that is no UTF-8

    def _search(self, written: str, part: str) -> list[str]:
        """The files of that name in the folders of a part, each once."""
        steps = [step for step in written.split("/") if step not in ("", ".")]
        if not steps or ".." in steps or os.path.isabs(written):
            return []
        found = [path for folder in self._within(part) for path in self._matches(folder, steps)]
        return found if len(found) < 2 else list({os.path.realpath(path): path for path in found}.values())

    def _matches(self, folder: str, steps: list[str]) -> Iterator[str]:
        names, stems = self._names(folder)
        key = _key(steps[0])
        if len(steps) > 1:
            for name in _exactly(steps[0], names.get(key, [])):
                yield from self._matches(os.path.join(folder, name), steps[1:])
            return
        for name in _exactly(steps[0], names.get(key, [])) or ([] if entries.is_image(key) else stems.get(key, [])):
            if not os.path.isdir(path := os.path.join(folder, name)):
                yield path

    def _names(self, folder: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """The names of a folder by what they are compared by, and those of images by that without their suffix."""
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            stems: dict[str, list[str]] = {}
            for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
                names.setdefault(_key(name), []).append(name)
                if entries.is_image(name):
                    stems.setdefault(_key(os.path.splitext(name)[0]), []).append(name)
            self._listed[folder] = names, stems
        return self._listed[folder]

    def _within(self, part: str) -> list[str]:
        """The folder of the table, and those in it that are searched for photos of a part."""
        part = part or self._own_part
        if part not in self._folders:
            self._folders[part] = [self._root, *self._below(self._root, part, DEEP)]
        return self._folders[part]

    def _below(self, folder: str, part: str, deep: int) -> Iterator[str]:
        for name in entries.folder_names(Path(folder), "") if deep else ():
            letters = re.sub(r"[\W_\d]+", "", name.casefold())
            is_own = _key(name) == _key(self._table.stem)
            path = os.path.join(folder, name)
            if (part_of(name) == part or HOLDS_IMAGES.fullmatch(letters) or is_own) and os.path.isdir(path):
                yield path
                yield from self._below(path, part, deep - 1)

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self._table.parent).replace(os.sep, "/")


def _exactly(name: str, found: list[str]) -> list[str]:
    """The one that is written so, where there is one."""
    return [name] if name in found else found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
