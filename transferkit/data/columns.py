"""Which column of a table is the photo, which its label, its part and its group, by their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.zoo.errors import DataError, UsageError
from transferkit.zoo.text import printable

WANTED = "path,label[,split][,group] or path,labels"
LABEL, LABELS = SINGLE_LABEL.column, MultiLabel.column
KNOWN = ("path", LABEL, LABELS, "split", "group")  # as they are documented
# Letters alone, in any case, of what others call them; a name that says more of what it is comes first.
PATHS = ("path", "filepath", "imagepath", "imgpath", "filename", "fname", "file", "imagename", "imgname", "image",
         "img", "photo", "picture", "imageid", "imgid", "photoid", "id")  # fmt: skip
ONE_LABEL = (LABEL, "class", "category", "breed", "species", "target", "labelname", "classname", "categoryname")
PARTS = ("split", "subset", "fold")
BETWEEN = re.compile("[\\s_.\u00a0\u200b\ufeff-]+")
SUFFIX = re.compile(r"\.(jpe?g|png|webp|bmp|gif|tiff?)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns as they stand in a table; None where there is none.

    Fields: labels, one column; or none, then `others` are a class each, but for those called `group_by`; is_loose,
    whether blanks around values are to be taken off.
    """

    path: str
    label: str | None
    has_several: bool  # names of classes between bars
    split: str | None
    group: str | None
    others: tuple[str, ...]
    is_loose: bool
    is_guessed: bool  # the label, by a name that is not documented

    @property
    def note(self) -> str:
        """What was understood, "" where columns are called as documented."""
        words = [(self.path, "path"), (self.label, LABELS if self.has_several else LABEL), (self.split, "split")]
        other = [f"{printable(name)} is the {role}" for name, role in words if name and word(name) != role]
        return f"columns: {', '.join(other)}" if other else ""


def of(source: Path, header: Sequence[str], *, label_column: str | None = None) -> Columns:
    """The columns of a table. Args: label_column, the one to take for the label.

    Raises: DataError that says what is missing, or which columns could be the label; UsageError if there is no
    `label_column`.
    """
    is_exact = "path" in header and bool({LABEL, LABELS} & {*header})
    chosen = None if label_column is None else _chosen(source, header, label_column)
    path = "path" if "path" in header else _first(header, PATHS, besides=chosen)
    label = chosen or _label(source, header, is_exact)
    others = tuple(name for name in header if name != path and not _is_index(name, header))
    split = "split" if "split" in header else _first(header, PARTS, besides=chosen)
    group = _first(header, ("group",), besides=chosen)
    others = tuple(name for name in others if name not in (label, split, group))
    if path is None or (label is None and not others):
        lacking = [name for name, is_there in (("path", path), ("label", label or (path and others))) if not is_there]
        raise lacks(source, header, lacking)
    for name in (path, label, split, group) if label else (path, split, group, *others):
        if name is not None and list(header).count(name) > 1:
            raise DataError(f"{source} has {list(header).count(name)} columns called {printable(name)}; keep one")
    return Columns(
        path=path,
        label=label,
        has_several=label is not None and word(label) == LABELS,
        split=split,
        group=group,
        others=others,
        is_guessed=chosen is None and label is not None and word(label) not in (LABEL, LABELS),
        is_loose=not is_exact or any(name != name.strip() for name in header),
    )


def word(name: str) -> str:
    """A name in small letters without blanks, seen or not, and marks between its words.

    >>> word(" File_Name"), word("image-id")
    ('filename', 'imageid')
    """
    return BETWEEN.sub("", name.casefold())


def fit(header: Sequence[str]) -> int:
    """How many of what every table needs have columns of their own: a photo, and then a label; 0 to 2."""
    words = {word(name) for name in header}
    return bool(words & {*PATHS}) * (1 + bool(words & {*ONE_LABEL, LABELS}))


def lacks(source: Path, header: Sequence[str], names: Sequence[str], *, more: str = "") -> DataError:
    """The error for a table without some of the columns that are needed; `more`, what was found in their place."""
    shown = printable(", ".join(map(repr, header)))[:120]
    words = f"it lacks {' and '.join(names)}, its first line has {shown}{more}"
    if any(SUFFIX.search(name.strip()) for name in header):
        words += "; that names a photo, so put a line with the names of the columns before it"
    elif len(header) == 1 and "|" in header[0]:
        words += ", with bars where commas, semicolons or tabs should be"
    elif names == ["label"]:
        words += "; if one of these is the label, name it with --label-column"
    return DataError(f"{source} is no CSV with the columns {WANTED}: {words}")


def _label(source: Path, header: Sequence[str], is_exact: bool) -> str | None:
    """The column with the label. Raises: DataError if it could be several."""
    found = [name for name in dict.fromkeys(header) if word(name) in (*ONE_LABEL, LABELS)]
    if is_exact:  # as in label,Label: the one that is documented
        found = [name for name in found if name in (LABEL, LABELS) or word(name) not in (LABEL, LABELS)]
    if len(found) > 1:
        names = " and ".join(map(printable, found[:4]))
        raise DataError(
            f"{source} has {names}, either of which could be the label: choose with --label-column "
            f"{printable(found[0])}, or keep one of them"
        )
    return found[0] if found else None


def _chosen(source: Path, header: Sequence[str], name: str) -> str:
    found = [each for each in header if each == name] or [each for each in header if word(each) == word(name)]
    if not found:
        raise UsageError(
            f"--label-column {printable(name)} is no column of {source}, which has {printable(', '.join(header))[:200]}"
        )
    return found[0]


def _first(header: Sequence[str], words: Sequence[str], *, besides: str | None) -> str | None:
    """The first column that is called by the first of these words that any is called by."""
    for each in words:
        for name in header:
            if word(name) == each and name != besides:
                return name
    return None


def _is_index(name: str, header: Sequence[str]) -> bool:
    """Whether a column is the number of the row, as pandas writes it: the first one, without a name."""
    return not name.strip() and name == header[0] and list(header).count(name) == 1
