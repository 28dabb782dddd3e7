import os
import sys
from pathlib import Path

import pytest

from transferkit.ship import replacement, runs
from transferkit.zoo import removal

OLD = ("model", "run.json", "metrics.json", "crash.txt", "checkpoints")
NEW = ("model", "run.json", "metrics.json", "report.html")
EVENTS = ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.mkdir", "os.listdir", "open")


def write(folder: Path, names: tuple[str, ...], text: str) -> None:
    for name in names:
        path = folder / name
        if name in ("model", "checkpoints"):
            path /= "weights"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def written(folder: Path) -> dict[str, str]:
    """The files of a folder, but for those of a replacement."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {name.as_posix(): (folder / name).read_text() for name in names if replacement.FOLDER not in name.parts}


def told(names: tuple[str, ...], text: str) -> dict[str, str]:
    return {f"{name}/weights" if name in ("model", "checkpoints") else name: text for name in names}


@pytest.fixture
def run(tmp_path) -> Path:
    write(tmp_path / "r", OLD, "old")
    write(tmp_path / "r" / replacement.FOLDER, NEW, "new")
    (tmp_path / "r" / "mine.txt").write_text("mine")
    return tmp_path / "r"


def killed_at(number: int, run: Path) -> bool:
    """Whether a process that completes the replacement was killed before its `number`-th change to the run's folder."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal seen
            if event in EVENTS and arguments and str(arguments[0]).startswith(str(run)):
                seen += 1
                if seen == number:
                    os._exit(9)

        sys.addaudithook(hook)
        replacement.complete(run)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_move_killed_anywhere_leaves_each_part_whole_and_the_next_start_ends_it(tmp_path, run):
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        write(folder, OLD, "old")
        write(folder / replacement.FOLDER, NEW, "new")
        (folder / "mine.txt").write_text("mine")
        was_killed = killed_at(number, folder)
        parts = written(folder)
        assert parts.pop("mine.txt") == "mine"
        assert set(parts.values()) <= {"old", "new"}
        if not was_killed:
            break
        with runs.open_run(folder, overwrite=False, resume=True) as opened:
            found = written(opened.place)
        assert {name: found[name] for name in found if name not in ("run.lock", "mine.txt")} == told(NEW, "new")
        assert (folder / "mine.txt").read_text() == "mine"
        assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]
    assert number > 20
    assert written(folder) == told(NEW, "new") | {"mine.txt": "mine"}
    assert not (folder / replacement.FOLDER).exists()


def test_a_replacement_that_fails_before_it_began_is_gone_and_the_old_run_is_as_it_was(run):
    with pytest.raises(RuntimeError), runs.open_run(run, overwrite=True, resume=False):
        raise RuntimeError
    (run / "crash.txt").write_text("old")
    assert written(run) == told(OLD, "old") | {"mine.txt": "mine"}
    assert not (run / replacement.FOLDER).exists()


def test_resume_goes_on_with_what_was_to_replace_a_run(run):
    with runs.open_run(run, overwrite=False, resume=True) as opened:
        assert (opened.path, opened.place) == (run, run / replacement.FOLDER)
        opened.complete()
    assert written(run) == told(NEW, "new") | {"mine.txt": "mine"}


def test_temporaries_of_a_killed_writer_go_and_nothing_that_only_looks_like_them(run):
    ours = [".run.json.4711.tmp", ".model.ab_3xk9q", ".checkpoints.abcdefgh", f"{replacement.FOLDER}/.model.ab_3xk9q"]
    theirs = [".run.json.swp", ".model.txt", ".photo.jpg.4711.tmp", ".mine.abcdefgh", ".model.backup12.zip"]
    for name in (*ours, *theirs):
        (run / name).mkdir() if "tmp" not in name else (run / name).write_text("")
    with runs.open_run(run, overwrite=False, resume=True):
        assert not [name for name in ours if (run / name).exists()]
        assert all((run / name).exists() for name in theirs)


def test_a_link_in_place_of_a_part_is_replaced_and_its_target_stays(run, tmp_path):
    write(tmp_path / "elsewhere", ("weights",), "precious")
    for place in (run / "model", run / "checkpoints"):
        removal.remove(place)
        place.symlink_to(tmp_path / "elsewhere")
    replacement.complete(run)
    assert (tmp_path / "elsewhere" / "weights").read_text() == "precious"
    assert written(run) == told(NEW, "new") | {"mine.txt": "mine"}


def test_a_replacement_that_was_killed_before_it_began_goes_at_the_next_start(run):
    (run / replacement.FOLDER / "run.json").unlink()
    with runs.open_run(run, overwrite=False, resume=True) as opened:
        assert opened.place == run
        assert not (run / replacement.FOLDER).exists()
