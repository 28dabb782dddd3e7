"""`transferkit predict`: where photos come from, and where answers go."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from transferkit.cli.main import run as cli


@pytest.mark.parametrize("name", ["said.csv", "said.JSON", "said.jsonl", "said.txt"])
def test_what_o_names_has_the_bytes_that_stdout_would_have_and_is_not_replaced_unasked(
    run, data, name, tmp_path, capsys
):
    photos, target = ["predict", str(run), str(data / "digit 0")], tmp_path / name
    form = {".csv": "csv", ".JSON": "json", ".jsonl": "json"}.get(target.suffix, "table")
    assert cli([*photos, "--format", form]) == 0
    printed = capsys.readouterr().out
    assert cli([*photos, "-o", str(target)]) == 0
    out, err = capsys.readouterr()
    assert (out, f"12 answers are in {target}" in err) == ("", True)
    assert target.read_bytes().decode() == printed
    assert cli([*photos, "-o", str(target)]) == 7
    assert cli(["predict", str(run), str(data / "digit 1"), "-o", str(target), "--overwrite"]) == 0
    assert "digit 0" not in [line.split(",")[0] for line in target.read_text().splitlines()]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_predict_that_fails_leaves_no_file_and_what_was_there(run, data, tmp_path, capsys):
    (tmp_path / "old.csv").write_text("old")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert cli(["predict", str(run), str(broken), "-o", str(broken), "--overwrite"]) == 7
    assert "is the file that is read" in capsys.readouterr().err
    assert (
        cli(["predict", str(run / "model" / "nothing"), str(broken), "-o", str(tmp_path / "old.csv"), "--overwrite"])
        == 2
    )
    assert (tmp_path / "old.csv").read_text() == "old"
    assert broken.read_bytes() == b"no image"


def test_paths_on_stdin_are_those_on_the_command_line(run, data, monkeypatch, capsys):
    photos = sorted(map(str, (data / "digit 0").iterdir()))[:3]
    assert cli(["predict", str(run), *photos, "--format", "json"]) == 0
    named = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([photos[0], "", photos[1], "/absent.png"]) + "\n"))
    assert cli(["predict", str(run), "-", photos[2], "--format", "json"]) == 0
    out, err = capsys.readouterr()
    first, second, absent, last = map(json.loads, out.splitlines())
    assert [first, second, last] == [json.loads(line) for line in named.splitlines()]
    assert absent == {"path": "/absent.png", "fault": "no such file in /"}
    assert "1 of 4 files could not be read" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert cli(["predict", str(run), "-"]) == 3
    assert "no files in -" in capsys.readouterr().err


def test_photos_are_sorted_by_what_is_said_of_them_and_put_back(run, data, tmp_path, capsys):
    new = tmp_path / "new"
    shutil.copytree(data, new)
    (new / "text.png").write_bytes(b"no image")
    before = {path: path.read_bytes() for path in new.rglob("*") if path.is_file()}
    assert cli(["predict", str(run), str(new), "--format", "json", "--max-error", "0.2"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    sort = ["predict", str(run), str(new), "--sort-into", str(new / "sorted"), "--by", "move", "--max-error", "0.2"]
    assert cli(sort) == 0
    out, err = capsys.readouterr()
    assert f"undo  transferkit predict --undo {new / 'sorted' / 'undo.jsonl'}" in out
    assert f"left: {new / 'text.png'}: not an image" in err
    read = [answer for answer in answers if "fault" not in answer]
    doubtful = {answer["path"] for answer in read if not (answer["is_sure"] and answer["is_familiar"])}
    assert sum(path.is_file() for path in (new / "sorted" / "review").glob("*")) == len(doubtful)
    for answer in read:
        if answer["path"] not in doubtful:
            assert (new / "sorted" / answer["label"] / Path(answer["path"]).name).is_file()
    assert cli(sort) == 3  # what is sorted is not sorted again
    assert "no image could be read" in capsys.readouterr().err
    assert cli(["predict", "--undo", str(new / "sorted" / "undo.jsonl"), "--quiet"]) == 0
    assert "24 photos are where they were" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in new.rglob("*") if path.is_file()} == before
    assert cli(["predict", str(run), "--undo", "x"]) == 2
    assert "give it alone" in capsys.readouterr().err
    assert cli(["predict", str(run)]) == 2
    assert "name a classifier and photos" in capsys.readouterr().err


def test_a_share_of_wrong_answers_is_not_promised_of_a_model_that_knows_none(data, tmp_path, capsys):
    photo = str(next((data / "digit 0").iterdir()))
    assert cli(["predict", "cifar_resnet", photo, "--max-error", "0.1"]) == 2
    out, err = capsys.readouterr()
    assert (out, "no share of 0.1 can be kept: this model does not know" in err) == ("", True)
    assert cli(["predict", "cifar_resnet", photo, "--max-error", "5"]) == 2
    capsys.readouterr()
    into = ["predict", "cifar_resnet", photo, "--sort-into", str(tmp_path / "sorted")]
    for options, is_told in (([], True), (["--no-abstain"], False)):
        assert cli([*into, *options]) == 0
        assert ("nothing is put into review: this model does not know" in capsys.readouterr().err) == is_told


def test_of_a_run_it_is_told_nothing_of_that(run, data, tmp_path, capsys):
    photo = str(next((data / "digit 0").iterdir()))
    assert cli(["predict", str(run), photo, "--sort-into", str(tmp_path / "sorted")]) == 0
    assert "review" not in capsys.readouterr().err
