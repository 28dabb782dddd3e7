"""Which folders are parts of a data set, by their names, and which look like parts where they would become classes."""

import re
from collections.abc import Callable, Iterable, Sequence
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
    "holdout": "test",
}
TO_VALIDATE = ("eval", "evaluation")  # beside a test part they are the other one
ANY_WORD = "|".join(sorted(PART_OF, key=len, reverse=True))
THINGS = "set|data|dataset|split|images?|imgs?|photos?|pictures?|pics|jpe?gs?|pngs?|files|folder"
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
    return PART_OF.get(_word(name), "")


def _word(name: str) -> str:
    """The word for a part in a folder's name; "" if it is not called like one."""
    letters = re.sub(r"[\W_]+", "", re.sub(r"[\W_\d]+$", "", name.casefold()))
    word = re.match(ANY_WORD, letters)
    return word[0] if word and PLAIN.fullmatch(letters) else ""


def find(source: Path, folders: Folders, inside: Inside) -> Parts:
    """The folders of `source` that are its parts.

    `train` is a part if it holds folders, or if nothing but parts lies beside it. Other names for it, such as
    `Training`, also need that nothing but parts lies beside them, or else a part beside them with the same classes, as
    do names with more in them, such as `seg_train`. A part may lie in a folder of its own name.

    Raises: DataError if a part has two folders, or if folders that look like parts would become classes.
    """
    inner = {name: _inner(relative, inside) for name, relative in folders.items()}
    exact = {name for name in folders if name.casefold() in PARTS}
    meant = _with_eval({name: part_of(name) for name in folders if part_of(name)})
    train = next((name for name in folders if name.casefold() == "train"), None)
    train = train or next((name for name, part in meant.items() if part == "train"), None)
    if train is None or not _are_parts(inner, meant, train, inside):
        meant = _with_more(inner, inside)
        if not meant:
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
        if part == "train" or name in exact or any(inside(inner[name])):  # test1/ may hold photos without labels
            found[part] = name
    renamed = [f"{name} is {part}" for part, name in found.items() if name not in exact]
    notes = (f"folders taken as parts by their names: {', '.join(renamed)}",) if renamed else ()
    return Parts({part: inner[name] for part, name in found.items()}, notes)


def by_first_folder(paths: Sequence[str]) -> list[str]:
    """The part of each path by the folder that it begins with; "" for all, unless all begin with parts and two differ.

    >>> by_first_folder(["train/1.jpg", "Test/2.jpg"]), by_first_folder(["train/1.jpg", "tram/2.jpg"])
    (['train', 'test'], ['', ''])
    """
    folders = [folder if slash else "" for folder, slash, _ in (path.partition("/") for path in paths)]
    of_folder = {name: part_of(name) for name in set(folders)}
    is_divided = {"train"} < set(of_folder.values()) <= {"train", "val", "test"}
    return [of_folder[folder] if is_divided else "" for folder in folders]


def _inner(relative: str, inside: Inside) -> str:
    """Where the classes of a part lie: of seg_train/seg_train, as archives have it, in the inner one."""
    names = list(inside(relative)) if WORD_IN_NAME.search(_letters(relative)) else []  # others may be large
    if len(names) != 1 or not names[0].isascii():  # as its bytes may be others than those of the name in NFC
        return relative
    is_same = names[0] == relative or (part_of(relative) and part_of(names[0]) == part_of(relative))
    return f"{relative}/{names[0]}" if is_same else relative


def _with_eval(meant: Folders) -> Folders:
    """The parts that names mean, eval that of validation where another is called test and none is for validation."""
    tests = [name for name, part in meant.items() if part == "test"]
    evals = [name for name in tests if _word(name) in TO_VALIDATE]
    is_other = len(tests) == 2 and len(evals) == 1 and "val" not in meant.values()
    return meant | ({evals[0]: "val"} if is_other else {})


def _with_more(folders: Folders, inside: Inside) -> Folders:
    """Name to part of folders such as seg_train/ and seg_test/, if they hold the same classes, and no others do."""
    kinds: dict[str, Folders] = {}
    for name in folders:
        if match := WORD_IN_NAME.search(_letters(name)):
            kinds.setdefault(_rest(name, match), {})[name] = PART_OF[match[1]]
    found = [meant for meant in kinds.values() if {"train"} < set(meant.values()) and _share(folders, meant, inside)]
    return found[0] if len(found) == 1 else {}


def _share(folders: Folders, meant: Folders, inside: Inside) -> bool:
    """Whether all of some folders, no two of one part, hold two or more folders of the same names."""
    classes = [set(inside(folders[name])) for name in meant]
    return len(set(meant.values())) == len(meant) and len(set.intersection(*classes)) > 1


def _are_parts(folders: Folders, meant: Folders, train: str, inside: Inside) -> bool:
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
        kinds.setdefault((_rest(name, match), PART_OF[match[1]]), name)
    for (rest, part), name in kinds.items():
        if part == "train" and (other := kinds.get((rest, "test"))):
            raise DataError(
                f"{source} has folders {name}/ and {other}/, which are called like parts, not classes; {ADVICE}"
            )
    shared = _same_folders(folders, inside)
    is_numbered = len({re.sub(r"\d+", "", name) for name in shared}) == 1  # camera 1, camera 2: no classes
    if shared and (likes or not is_numbered):
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


def _rest(name: str, word: re.Match[str]) -> str:
    """What is in a name beside the word for a part, as that tells which belong together."""
    return re.sub(r"[\W\d_]+", "", _letters(name).replace(word[0], "", 1))


def _letters(name: str) -> str:
    return name.casefold().replace("_", " ")
