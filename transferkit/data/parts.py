"""Which folders are parts of a data set, by their names, and which look like parts where they would become classes."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from transferkit.data.listing import PARTS
from transferkit.zoo.errors import DataError

PART_OF = PARTS | {  # words that a name may have for a part
    "training": "train",
    "dev": "val",
    "development": "val",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
ANY_WORD = "|".join(sorted(PART_OF, key=len, reverse=True))
THINGS = "set|data|dataset|split|images?|imgs?|photos?|pictures?|pics|folder"
PLAIN = re.compile(rf"(?:{ANY_WORD})(?:{THINGS})?")
WORD_IN_NAME = re.compile(rf"(?<![a-z])({ANY_WORD})(?:{THINGS})?(?![a-z])")
ADVICE = "name them train/, val/ and test/, or list the images in a CSV (path,label,split)"

Folders = dict[str, str]  # name to path relative to the data
Inside = Callable[[str], Iterable[str]]  # the names of the folders in a folder, given its relative path


class Parts(NamedTuple):
    """Part to folder, none if the folders are classes; and a word on names that were understood."""

    folders: Folders
    notes: tuple[str, ...] = ()


def part_of(name: str) -> str:
    """The part that a folder's name means; "" if it means none. Case, separators and a number behind it do not matter.

    >>> part_of("Training"), part_of("test_set"), part_of("Test-1"), part_of("train station")
    ('train', 'test', 'test', '')
    """
    letters = re.sub(r"[\W_]+", "", re.sub(r"[\W_\d]+$", "", name.casefold()))
    word = re.match(ANY_WORD, letters)
    return PART_OF[word[0]] if word and PLAIN.fullmatch(letters) else ""


def find(source: Path, folders: Folders, inside: Inside) -> Parts:
    """The folders of `source` that are its parts.

    `train` is a part if it holds folders, or if nothing but parts lies beside it. Other names for it, such as
    `Training`, also need that nothing but parts lies beside them, or else a part beside them with the same classes.

    Raises: DataError if a part has two folders, or if folders that look like parts would become classes.
    """
    exact = {name for name in folders if name.casefold() in PARTS}
    train = next((name for name in folders if name.casefold() == "train"), None)
    meant = {name: part_of(name) for name in folders if part_of(name)}
    train = train or next((name for name, part in meant.items() if part == "train"), None)
    if train is None or not _are_parts(folders, meant, train, inside):
        _refuse_lookalikes(source, folders, inside)
        return Parts({})
    found: dict[str, str] = {}
    for name in sorted(meant, key=lambda name: (name not in exact, name)):
        part = meant[name]
        is_taken = part in found
        if is_taken and name not in exact and found[part] in exact:
            continue  # test1/ beside test/
        if is_taken:
            raise DataError(f"{source} has both {folders[found[part]]}/ and {folders[name]}/; keep one of them")
        if part == "train" or name in exact or any(inside(folders[name])):  # test1/ may hold photos without labels
            found[part] = name
    renamed = [f"{name} is {part}" for part, name in found.items() if name not in exact]
    notes = (f"folders taken as parts by their names: {', '.join(renamed)}",) if renamed else ()
    return Parts({part: folders[name] for part, name in found.items()}, notes)


def _are_parts(folders: Folders, meant: dict[str, str], train: str, inside: Inside) -> bool:
    if len(meant) == len(folders):
        return True
    classes = set(inside(folders[train]))
    if train.casefold() == "train":
        return bool(classes)
    return any(classes & set(inside(folders[name])) for name, part in meant.items() if part != "train")


def _refuse_lookalikes(source: Path, folders: Folders, inside: Inside) -> None:
    """Raises: DataError if the folders of one part each would become the classes."""
    likes = {name: match for name in folders if (match := WORD_IN_NAME.search(_letters(name)))}
    kinds = {}
    for name, match in likes.items():
        rest = re.sub(r"[\W\d_]+", "", _letters(name).replace(match[0], "", 1))
        kinds.setdefault((rest, PART_OF[match[1]]), name)
    for (rest, part), name in kinds.items():
        if part == "train" and (other := kinds.get((rest, "test"))):
            raise DataError(
                f"{source} has folders {name}/ and {other}/, which are called like parts, not classes; {ADVICE}"
            )
    shared = _same_folders(folders, inside)
    parts_within = {part_of(name) for name in shared} - {""}
    is_numbered = len({re.sub(r"\d+", "", name) for name in shared}) == 1  # camera 1, camera 2: no classes
    if shared and (likes or {"train", "test"} <= parts_within or not is_numbered):
        first, second = list(folders)[:2]
        raise DataError(
            f"{source} has the same folders ({', '.join(shared[:3])}{', ...' if len(shared) > 3 else ''}) in {first}/, "
            f"{second}/ and all beside them, so it is not clear which are the classes; if those above are parts, "
            f"{ADVICE}; if they are the classes, put their images into them without folders"
        )


def _same_folders(folders: Folders, inside: Inside) -> list[str]:
    """The names of the folders, two or more, that all of several folders hold and that are the same in each."""
    held: set[str] = set()
    for relative in folders.values():  # most often the first one holds images alone, and no other is looked at
        names = set(inside(relative))
        if len(names) < 2 or (held and names != held):
            return []
        held = names
    return sorted(held) if len(folders) > 1 else []


def _letters(name: str) -> str:
    return name.casefold().replace("_", " ")
