"""Data sets as people have them: each is read as it is meant, or refused in one line that says what to do."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from transferkit.cli.main import run as cli
from transferkit.data import folder
from transferkit.zoo.errors import TransferkitError

SEEN_IN_PIXELS = {"test_copies_train", "one_photo_two_labels"}  # a run says it when it has read them


@pytest.fixture
def layouts(shared, tmp_path_factory) -> tuple[Path, dict]:
    """The folder of the data sets, and what is expected of each."""
    root = tmp_path_factory.mktemp("layouts")
    make = shared / "data" / "layouts" / "make.py"
    subprocess.run([sys.executable, str(make), str(root)], check=True, capture_output=True)
    return root, json.loads((root / "expected.json").read_text(encoding="utf-8"))


def says(text: str, wanted: list[str]) -> bool:
    """Whether a text has all that is wanted, of which `a|b` is one or the other."""
    return all(any(word in text.casefold() for word in each.casefold().split("|")) for each in wanted)


def differences(root: Path, name: str, entry: dict) -> list:
    """What is other than expected of a data set, where it is accepted."""
    listing = folder.read(root / entry["data"])
    if entry["verdict"] == "refuse":
        return ["accepted"]
    several = entry.get("several", False)
    found = {}
    for path, label in zip(listing.paths, listing.labels):
        names = [listing.classes[number] for number in label.nonzero()[0]] if several else listing.classes[label]
        unpacked = re.search(r"/archives/[0-9a-f]{64}/files/(.*)", Path(path).as_posix())
        found[unpacked[1] if unpacked else Path(os.path.relpath(path, root / name)).as_posix()] = names
    counts = Counter(map(str, listing.parts))
    parts = {"train": counts["train"] + counts[""], "val": counts["val"] or None, "test": counts["test"]}
    said = "\n".join((*listing.notes, *(f"{path}: {reason}" for path, reason in listing.ignored)))
    wanted = [] if name in SEEN_IN_PIXELS else entry["says"]
    pairs = [
        (sorted(listing.classes), entry["classes"]),
        (parts if entry["parts"] else None, entry["parts"]),
        (found, entry["labels"]),
        ((said, wanted) if not says(said, wanted) else None, None),
    ]
    return [pair for pair in pairs if pair[0] != pair[1]]


def test_every_layout_is_read_as_it_is_meant_or_refused(layouts):
    root, expected = layouts
    wrong = {}
    for name, entry in expected.items():
        if "skipped" in entry:
            continue
        verdicts = {each["verdict"]: each["says"] for each in (entry, *entry.get("or", ()))}
        try:
            found = differences(root, name, entry)
        except TransferkitError as error:
            words = str(error).replace(str(root / entry["data"]), "DATA")
            found = [] if "refuse" in verdicts and says(words, verdicts["refuse"]) and words.isprintable() else [words]
        if found:
            wrong[name] = found
    assert wrong == {}
    assert len(expected) == 40


def test_what_is_refused_is_one_line_without_a_crash_and_nothing_is_written(layouts, tmp_path, capsys):
    root, expected = layouts
    before = set(root.rglob("*"))
    for name, entry in expected.items():
        if "skipped" in entry or entry["verdict"] != "refuse":
            continue
        out = tmp_path / "runs" / name
        assert cli(["finetune", str(root / entry["data"]), "-o", str(out)]) in (2, 3), name
        printed, said = capsys.readouterr()
        assert printed == "", name
        assert said.count("\n") == 1, name
        assert said.strip().isprintable(), name
        assert not out.exists(), name
    assert set(root.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []
