import json
import os
import subprocess
import sys

import pytest

from transferkit.ship import runs
from transferkit.zoo.errors import RunConflictError


def open_run(path, *, overwrite=False, resume=False):
    return runs.open_run(path, overwrite=overwrite, resume=resume)


def finish(path):
    with open_run(path) as run:
        run.write_json("run.json", {})
        (path / "mine.txt").write_text("kept")


def test_the_first_free_number_names_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "photos-1").mkdir(parents=True)
    assert runs.default_path("some/photos") == runs.Path("runs/photos-2")
    assert runs.default_path("some/list.csv") == runs.Path("runs/list-1")


def test_a_finished_run_is_replaced_only_when_told_and_files_of_others_stay(tmp_path):
    finish(tmp_path / "r")
    with pytest.raises(RunConflictError, match="already holds a run"), open_run(tmp_path / "r"):
        pass
    with open_run(tmp_path / "r", overwrite=True) as run:
        assert os.listdir(run.place) == []
        run.write_json("run.json", {"new": True})
        assert (run.path / "run.json").read_text() == "{}\n"
        run.complete()
    assert sorted(os.listdir(tmp_path / "r")) == ["mine.txt", "run.json"]
    assert json.loads((tmp_path / "r" / "run.json").read_text()) == {"new": True}


def test_a_folder_that_holds_no_run_is_never_taken(tmp_path):
    (tmp_path / "photo.jpg").write_text("precious")
    with pytest.raises(RunConflictError, match="holds no run"), open_run(tmp_path, overwrite=True):
        pass
    assert (tmp_path / "photo.jpg").read_text() == "precious"


@pytest.mark.skipif(os.name == "nt", reason="no flock on Windows")
def test_a_run_in_use_is_refused_and_one_whose_process_was_killed_is_not(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from transferkit.ship import runs\n"
        "with runs.open_run(Path(sys.argv[1]), overwrite=False, resume=False):\n"
        "    print('open', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path / "r"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "open\n"
        with (
            pytest.raises(RunConflictError, match=f"in use by process {holder.pid}"),
            open_run(tmp_path / "r", resume=True),
        ):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with open_run(tmp_path / "r", resume=True):
        pass


def test_a_bug_leaves_its_traceback_in_the_run(tmp_path):
    with pytest.raises(ZeroDivisionError) as caught, open_run(tmp_path / "r"):
        _ = 1 / 0
    assert "ZeroDivisionError" in (tmp_path / "r" / "crash.txt").read_text()
    assert caught.value.crash_file == tmp_path / "r" / "crash.txt"


def test_what_stops_a_run_knows_where_to_resume(tmp_path):
    finish(tmp_path / "r")
    with pytest.raises(KeyboardInterrupt) as caught, open_run(tmp_path / "r", resume=True):
        raise KeyboardInterrupt
    assert caught.value.run_folder == tmp_path / "r"


@pytest.mark.parametrize("overwrite", [False, True])
def test_nobody_is_told_to_resume_what_has_not_begun(tmp_path, overwrite):
    if overwrite:
        finish(tmp_path / "r")
    with pytest.raises(KeyboardInterrupt) as caught, open_run(tmp_path / "r", overwrite=overwrite):
        raise KeyboardInterrupt
    assert not hasattr(caught.value, "run_folder")
    assert (tmp_path / "r").exists() == overwrite


def test_a_bug_before_the_first_record_does_not_bar_the_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), open_run(tmp_path / "r"):
        _ = 1 / 0
    with open_run(tmp_path / "r") as run:
        assert os.listdir(run.path) == ["run.lock"]


@pytest.mark.parametrize(
    ("there", "given", "overwrite", "resume"),
    [
        (["run.lock"], 0, True, False),
        (["run.json"], 0, True, False),
        (["run.json", "checkpoints/epoch-0001/state.json"], 0, False, True),
        (["run.json", "checkpoints/epoch-0001/state.json"], 1, False, False),
        (["run.json"], 1, False, False),
        (["run.json", "metrics.json"], 0, False, False),
        ([".replacement/run.json", ".replacement/checkpoints/epoch-0001/state.json", "run.json"], 0, False, True),
    ],
)
def test_a_restart_goes_on_or_begins_anew_but_takes_no_finished_or_other_run(
    there, given, overwrite, resume, tmp_path, monkeypatch
):
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"given": {"seed": 0}}))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    found = runs.opening(str(tmp_path), "photos", given={"seed": given}, overwrite=False, resume=False)
    assert (found.overwrite, found.resume) == (overwrite, resume)


@pytest.mark.parametrize(
    ("there", "resume"),
    [
        (["run.json", "checkpoints/epoch-0001/state.json"], True),  # it replaces nothing, and lies in the folder itself
        (["run.json", "metrics.json"], False),
        (["run.json", "metrics.json", ".replacement/run.json", ".replacement/checkpoints/epoch-0001/x"], True),
    ],
)
def test_a_restart_of_a_run_that_may_overwrite_goes_on_from_its_own_epochs(there, resume, tmp_path, monkeypatch):
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"given": {"seed": 0}}))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    found = runs.opening(str(tmp_path), "photos", given={"seed": 0}, overwrite=True, resume=False)
    assert (found.overwrite, found.resume) == (True, resume)


def test_a_command_that_is_refused_leaves_the_report_of_a_crash(tmp_path):
    (tmp_path / "r").mkdir()
    for name in ("run.json", "crash.txt"):
        (tmp_path / "r" / name).write_text("of an earlier run")
    with pytest.raises(RunConflictError, match="already holds a run"), open_run(tmp_path / "r"):
        pass
    assert (tmp_path / "r" / "crash.txt").read_text() == "of an earlier run"
