"""Photos that are sorted into folders are never lost nor written over, and go back to where they were."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transferkit.progress import Progress
from transferkit.ship import placing, sorting
from transferkit.ship.prediction import Prediction
from transferkit.zoo.errors import ModelFileError, RunConflictError, StorageError, UsageError

CLASSES = ("cat", "dog")


def said(path, label="cat", **known):
    return Prediction(source=str(path), label=label, labels=((label, 0.9),), **known)


def sort(into, predictions, *, how="copy", classes=CLASSES, names_one=True):
    with sorting.sorting(into, how=how, classes=classes, names_one=names_one) as sorter:
        assert list(sorter.each(predictions)) == predictions
    return sorter.outcome


def undo(into):
    return sorting.undo(into / "undo.jsonl", progress=Progress())


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def photos(tmp_path):
    """Three photos, two of the same name."""
    for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        os.utime(path, (1e9, 1e9))
    return tmp_path / "photos"


@pytest.mark.parametrize("how", placing.HOW)
def test_photos_lie_in_the_folder_of_their_class_those_in_doubt_for_review_and_all_go_back(how, photos, tmp_path):
    before, into = tree(photos), tmp_path / "sorted"
    predictions = [
        said(photos / "a/1.jpg", is_sure=True, is_familiar=True),
        said(photos / "b/1.jpg"),
        said(photos / "b/2.jpg", "dog", is_sure=False),
        Prediction(source=str(photos / "c.txt"), fault="not an image"),
    ]
    outcome = sort(into, predictions, how=how)
    assert outcome.counts == {"cat": 2, "review": 1}
    assert outcome.left == [(str(photos / "c.txt"), "not an image")]
    expected = {"cat/1.jpg": b"a/1.jpg", "cat/1-2.jpg": b"b/1.jpg", "review/2.jpg": b"b/2.jpg"}
    assert {name: data for name, data in tree(into).items() if name != "undo.jsonl"} == expected
    assert (into / "cat/1.jpg").stat().st_mtime == 1e9
    assert tree(photos) == ({} if how == "move" else before)
    assert undo(into).counts == {how: 3}
    assert tree(photos) == before
    assert not into.exists()


@pytest.mark.parametrize("how", ["copy", "hardlink"])
def test_what_is_sorted_again_is_there_already(how, photos, tmp_path):
    predictions = [said(path) for path in sorted(photos.rglob("*.jpg"))]
    sort(tmp_path / "sorted", predictions, how=how)
    once = tree(tmp_path / "sorted")
    sort(tmp_path / "sorted", predictions, how=how)
    assert tree(tmp_path / "sorted") == once
    assert len(once) == 4


def test_a_photo_of_several_classes_is_in_each_of_them_and_cannot_be_moved(photos, tmp_path):
    both = Prediction(source=str(photos / "a/1.jpg"), labels=(("dog", 0.9), ("cat", 0.8)))
    none = Prediction(source=str(photos / "b/2.jpg"))
    outcome = sort(tmp_path / "sorted", [both, none], names_one=False)
    assert outcome.counts == {"cat": 1, "dog": 1, "none": 1}
    with pytest.raises(UsageError, match="copy or hardlink"):
        sort(tmp_path / "moved", [both], how="move", names_one=False)


def test_a_class_may_be_called_anything(photos, tmp_path):
    classes = ("../../up", "review", "Review", "a\0b", "x" * 300, "..", "undo.jsonl", "ü/ö")
    path = photos / "a/1.jpg"
    sort(tmp_path / "in" / "sorted", [said(path, label) for label in classes], classes=classes)
    names = sorting.folders_of(classes).values()
    assert len({name.casefold() for name in names}) == len(classes)
    assert {each.name for each in (tmp_path / "in" / "sorted").iterdir()} == {*names, "undo.jsonl"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in", "photos"]


def test_a_link_is_not_moved_nor_what_is_no_file(photos, tmp_path):
    (photos / "link.jpg").symlink_to("a/1.jpg")
    left = [photos / "link.jpg", photos / "absent.jpg", photos / "a"]
    outcome = sort(tmp_path / "sorted", [said(path) for path in left], how="move")
    assert [path for path, _ in outcome.left] == [str(path) for path in left]
    assert (photos / "link.jpg").read_bytes() == b"a/1.jpg"
    for how in ("copy", "hardlink"):
        assert sort(tmp_path / how, [said(photos / "link.jpg")], how=how).counts == {"cat": 1}
        assert not (tmp_path / how / "cat/link.jpg").is_symlink()


def test_what_has_changed_since_stays_and_its_line_too(photos, tmp_path):
    into = tmp_path / "sorted"
    sort(into, [said(path) for path in sorted(photos.rglob("*.jpg"))])
    (into / "cat/1.jpg").write_bytes(b"edited")
    (photos / "b/2.jpg").unlink()
    outcome = undo(into)
    assert {Path(path).name for path, _ in outcome.left} == {"1.jpg", "2.jpg"}
    assert {**tree(into)}.keys() == {"cat/1.jpg", "cat/2.jpg", "undo.jsonl"}
    assert len((into / "undo.jsonl").read_text().splitlines()) == 2
    (into / "cat/1.jpg").write_bytes(b"a/1.jpg")
    assert undo(into).counts == {"copy": 1}


def test_a_place_that_is_taken_meanwhile_is_not_written_over_when_photos_go_back(photos, tmp_path):
    into = tmp_path / "sorted"
    sort(into, [said(photos / "a/1.jpg")], how="move")
    (photos / "a/1.jpg").write_bytes(b"another")
    assert len(undo(into).left) == 1
    assert (photos / "a/1.jpg").read_bytes() == b"another"
    assert (into / "cat/1.jpg").read_bytes() == b"a/1.jpg"


def test_a_photo_goes_to_another_disk_and_back_where_links_are_not_possible(photos, tmp_path, monkeypatch):
    def link(*paths, **options):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    before, into = tree(photos), tmp_path / "sorted"
    predictions = [said(path) for path in sorted(photos.rglob("*.jpg"))]
    assert sort(into, predictions, how="move").counts == {"cat": 3}
    assert not any(path.is_file() for path in photos.rglob("*"))
    undo(into)
    assert tree(photos) == before
    outcome = sort(into, predictions, how="hardlink")
    assert [reason for _, reason in outcome.left] == ["Invalid cross-device link"] * 3


@pytest.mark.parametrize("step", ["fsync", "unlink"])
def test_a_move_that_fails_leaves_the_photo_where_it_was(step, photos, tmp_path, monkeypatch):
    def link(*paths, **options):
        raise OSError(18, "Invalid cross-device link")

    def fail(self, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        plain = Path.unlink
        monkeypatch.setattr(
            Path, "unlink", lambda self, **how: (fail if self.parent == photos / "a" else plain)(self, **how)
        )
    with sorting.sorting(tmp_path / "sorted", how="move", classes=CLASSES, names_one=True) as sorter:
        sorter.place(said(photos / "a/1.jpg"))
    assert sorter.outcome.left == [(str(photos / "a/1.jpg"), "Operation not permitted")]
    assert (photos / "a/1.jpg").read_bytes() == b"a/1.jpg"
    assert tree(tmp_path / "sorted").keys() == {"undo.jsonl"}


def test_a_full_disk_ends_the_sorting(photos, tmp_path, monkeypatch):
    def full(*paths, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(placing.HOW, "copy", full)
    with pytest.raises(StorageError, match=r"No space left on device; .*undo.jsonl"):
        sort(tmp_path / "sorted", [said(photos / "a/1.jpg")])


@pytest.mark.parametrize(
    "line",
    [
        '{"how": "move", "from": "/x", "to": "../x"}',
        '{"how": "move", "from": "/x", "to": "/etc/passwd"}',
        '{"how": "move", "from": "x", "to": "cat/1.jpg"}',
        '{"how": "shred", "from": "/x", "to": "cat/1.jpg"}',
        '{"how": "move", "from": "/x"}',
        '["move"]',
        "no JSON",
    ],
)
def test_a_journal_that_nobody_wrote_is_refused_before_anything_is_undone(line, photos, tmp_path):
    into = tmp_path / "sorted"
    sort(into, [said(photos / "a/1.jpg")])
    journal = into / "undo.jsonl"
    journal.write_text(journal.read_text() + line + "\n")
    with pytest.raises(ModelFileError):
        undo(into)
    assert (into / "cat/1.jpg").exists()


def test_half_a_line_at_the_end_is_of_a_photo_that_was_not_placed(photos, tmp_path):
    into = tmp_path / "sorted"
    sort(into, [said(photos / "a/1.jpg")])
    (into / "undo.jsonl").write_text((into / "undo.jsonl").read_text() + '{"how": "co')
    assert undo(into).counts == {"copy": 1}
    with pytest.raises(UsageError, match="no such file"):
        undo(into)


def test_two_do_not_sort_into_one_folder_at_once(photos, tmp_path):
    into = tmp_path / "sorted"
    with sorting.sorting(into, how="copy", classes=CLASSES, names_one=True) as sorter:
        sorter.place(said(photos / "a/1.jpg"))
        with pytest.raises(RunConflictError):
            undo(into)


SCRIPT = """
import sys
from pathlib import Path
from transferkit.ship import sorting
from transferkit.ship.prediction import Prediction
photos, into, how = sys.argv[1:]
paths = sorted(Path(photos).rglob("*.jpg"))
with sorting.sorting(Path(into), how=how, classes=("cat", "dog"), names_one=True) as sorter:
    for number, path in enumerate(paths):
        label = ("cat", "dog")[number % 2]
        sorter.place(Prediction(source=str(path), label=label, labels=((label, 0.9),)))
        print(number, flush=True)
"""


def test_a_sorting_that_is_killed_loses_no_photo_and_is_undone(tmp_path):
    check_killed("move", across=True, tmp_path=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["move", "copy"])
def test_nor_does_one_on_a_disk_with_links(how, tmp_path):
    check_killed(how, across=False, tmp_path=tmp_path)


def check_killed(how: str, *, across: bool, tmp_path: Path) -> None:
    """Kill a sorting of 600 photos three times, look for all of them, undo it."""
    photos, into = tmp_path / "photos", tmp_path / "sorted"
    for number in range(600):
        path = photos / f"{number % 7}" / f"{number // 7}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{number}".encode() * 200)
    before = tree(photos)
    script = SCRIPT if not across else "import os\ndef link(*a, **k): raise OSError(18, '')\nos.link = link\n" + SCRIPT
    for stop in (5, 100, 230):
        command = [sys.executable, "-c", script, photos, into, how]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if int(line) == stop:
                    time.sleep(0.0007 * (stop % 3))
                    process.send_signal(signal.SIGKILL)
        after = {**tree(photos), **tree(into)}
        assert sorted(set(before.values()) - set(after.values())) == []
    undo(into)
    assert tree(photos) == before
    assert not into.exists()


@pytest.mark.parametrize("how", ["move", "copy"])
def test_a_name_that_was_taken_and_not_yet_filled_when_it_was_killed_is_given_back(how, photos, tmp_path, monkeypatch):
    def link(*paths, **options):
        raise OSError(18, "Invalid cross-device link")

    def killed(*paths):
        raise KeyboardInterrupt

    before, into = tree(photos), tmp_path / "sorted"
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            sort(into, [said(photos / "a/1.jpg")], how=how)
    assert (into / "cat/1.jpg").read_bytes() == b""
    assert undo(into).left == []
    assert tree(photos) == before
    assert not into.exists()


def test_lines_say_from_where_and_where_to(photos, tmp_path):
    sort(tmp_path / "sorted", [said(photos / "a/1.jpg")])
    (line,) = (tmp_path / "sorted" / "undo.jsonl").read_text().splitlines()
    assert json.loads(line) == {"how": "copy", "from": str(photos / "a/1.jpg"), "to": "cat/1.jpg"}
