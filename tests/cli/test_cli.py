"""The command as a user runs it: what it prints where, and its exit codes."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

import transferkit as tk
from tests.conftest import write_digits
from transferkit.cli.main import run as cli

FAST = ["--backbone", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--strategy", "probe"]


def test_with_json_stdout_is_one_object_and_progress_goes_to_stderr(data, tmp_path, capsys):
    assert cli(["finetune", str(data), *FAST, "-o", str(tmp_path / "r"), "--json"]) == 0
    out, err = capsys.readouterr()
    metrics = json.loads(out)
    assert metrics["run"] == str(tmp_path / "r")
    assert {"val", "test", "classes", "backbone", "strategy", "seconds", "snapshots"} <= metrics.keys()
    assert "24 images, 2 classes: digit 0 (12), digit 1 (12)" in err


def test_the_result_says_why_a_way_was_kept(data, tmp_path, capsys):
    fast = [
        *FAST[:-2],
        "--strategy",
        "auto",
        "--epochs",
        "1",
        "--augment",
        "none",
        "--batch-size",
        "16",
    ]
    assert cli(["finetune", str(data), *fast, "-o", str(tmp_path / "r"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert " is kept" in out
    assert "on the way in steps of 20 %" in out


def test_quiet_shows_no_progress(data, tmp_path, capsys):
    assert cli(["finetune", str(data), *FAST, "-o", str(tmp_path / "r"), "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "validation" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["finetune", "nowhere"], 2, "no such folder or CSV file: nowhere"),
        (["finetune"], 2, "name the images"),
        (["finetune", "EMPTY"], 3, "has no class folders"),
        (["finetune", "ONE"], 3, "at least 2 are needed"),
        (["finetune", "HOLLOW"], 3, "holds no images"),
        (["finetune", "TEXT"], 3, "no CSV with the columns path,label"),
        (["finetune", "DATA", "--backbone", "resnet81"], 2, "did you mean"),
        (["finetune", "DATA", *FAST, "--strategy", "magic"], 2, "is not one of"),
        (["finetune", "DATA", *FAST, "-o", "TEXT"], 7, "is a file; name a folder"),
        (["finetune", "DATA", *FAST, "-o", "ONE"], 7, "holds no run"),
        (["finetune", "DATA", *FAST[:-2], "--freeze", "layer9"], 2, "no stage 'layer9'"),
        (["finetune", "DATA", "--backbone", "TEXT"], 2, "is no model folder"),
        (["finetune", "DATA", *FAST, "--config", "TEXT"], 2, "holds no options"),
        (["finetune", "--resume"], 2, "--resume -o RUN"),
        (["finetune", "--resume", "-o", "EMPTY"], 2, "nothing to resume: EMPTY holds no run.json"),
        (["evaluate", "nowhere", "DATA"], 2, "nowhere"),
        (["predict", "RUN", "nowhere.jpg"], 2, "no such file or folder: nowhere.jpg"),
        (["export", "RUN", "--format", "timm", "-o", "EMPTY"], 2, "exists already"),
        (["report", "EMPTY"], 2, "no"),
        (["import", "nowhere.pth", "-o", "x.safetensors"], 2, "nowhere.pth"),
        (["zoo", "show", "resnet81"], 2, "did you mean"),
        (["--wrong"], 2, "No such option"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line_with_its_exit_code(
    arguments, code, said, data, run, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    write_digits(tmp_path / "ONE", classes=(0,), per_class=2)
    write_digits(tmp_path / "HOLLOW", classes=(0,), per_class=2)
    (tmp_path / "HOLLOW" / "b").mkdir()
    (tmp_path / "TEXT").write_text("hello")
    real = {"DATA": str(data), "RUN": str(run)}
    assert cli([real.get(argument, argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.splitlines()[-1]
    assert "Traceback" not in err


def test_zoo_show_tells_the_accuracy_of_an_embedded_network_in_words(capsys):
    assert cli(["zoo", "show", "cifar_resnet", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)["measured"]["10,000 test images"]
    assert cli(["zoo", "show", "cifar_resnet"]) == 0
    low, high = (f"{100 * end:.1f}" for end in score["interval"])
    assert f"{100 * score['accuracy']:.2f} % (95 % interval {low} to {high})" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        pytest.param(["--optimizer", "lbfgs"], "20, all images at once", marks=pytest.mark.slow),
        (["--freeze", "backbone", "--epochs", "3"], "none, the head is solved for"),
    ],
)
def test_dry_run_says_how_images_are_taken_where_there_are_no_batches(tmp_path, options, epochs, capsys):
    few = write_digits(tmp_path / "few", classes=(0, 1), per_class=4)
    assert cli(["finetune", str(few), "--backbone", "timm:test_vit", *FAST[2:-2], *options, "--dry-run"]) == 0
    assert re.search(rf"^epochs +{epochs}$", capsys.readouterr().out, re.M)


def test_dry_run_shows_the_stages_and_writes_nothing(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli(["finetune", str(data), *FAST[:-2], "--freeze", "layer2", "--dry-run"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.split("\n\n")[1].splitlines()}
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    sizes = {stage: sum(p.numel() for _, p in members) for stage, members in model.stage_parameters().items()}
    for stage, size in sizes.items():
        expected = (
            [f"{size:,}", "0"] if stage in model.stages[: model.stages.index("layer2") + 1] else ["0", f"{size:,}"]
        )
        assert rows[stage] == expected
    assert list(tmp_path.iterdir()) == []


def test_dry_run_counts_the_images_that_train_where_data_says_which(tmp_path, capsys):
    for part, count in (("train", 40), ("val", 10), ("test", 25)):
        write_digits(tmp_path / "data" / part, classes=(0, 1), per_class=count)
    batches = [str(tmp_path / "data"), *FAST, "--optimizer", "adam", "--epochs", "1", "--l2", "0.01"]
    assert cli(["finetune", *batches, "--dry-run"]) == 0
    assert "1, batches of 5" in capsys.readouterr().out
    assert cli(["finetune", *batches, "-o", str(tmp_path / "r"), "--quiet"]) == 0
    assert json.loads((tmp_path / "r" / "run.json").read_text())["config"]["batch_size"] == 5


def test_the_formats_of_predict_agree(run, data, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    source = sorted((data / "digit 0").iterdir())[0]
    (tmp_path / "new" / "a.png").write_bytes(source.read_bytes())
    (tmp_path / "new" / "b.jpg").write_bytes(b"no image")
    said = {}
    for form in ("json", "csv", "table"):
        assert cli(["predict", str(run), str(tmp_path / "new"), "--top", "2", "--format", form]) == 0
        out, err = capsys.readouterr()
        said[form] = out
        assert "1 of 2 files could not be read" in err
    good, bad = (json.loads(line) for line in said["json"].splitlines())
    first, second = csv.DictReader(said["csv"].splitlines())
    assert first["label"] == good["label"] == good["top"][0]["label"]
    assert float(first["probability2"]) == pytest.approx(good["top"][1]["probability"], abs=1e-5)
    assert second["fault"] == bad["fault"] == "not an image"
    assert f"{good['label']} {good['probability']:.3f}" in said["table"]
    assert (first["doubt"] == "") == (good["is_sure"] and good["is_familiar"])


def test_predict_is_not_sure_where_no_error_is_allowed_and_names_every_photo_if_told_to(run, data, capsys):
    photos = ["predict", str(run), str(data / "digit 0")]
    assert cli([*photos, "--max-error", "0"]) == 0
    out = capsys.readouterr().out
    assert all("  not sure (digit " in line or "  unlike anything seen (digit " in line for line in out.splitlines())
    assert "not sure" in out
    assert cli([*photos, "--max-error", "1", "--format", "json"]) == 0
    assert all(json.loads(line)["is_sure"] for line in capsys.readouterr().out.splitlines())
    for form in ("table", "csv", "json"):
        assert cli([*photos, "--max-error", "0", "--no-abstain", "--format", form]) == 0
        out = capsys.readouterr().out
        assert not any(word in out for word in ("not sure", "unlike", "is_sure", "is_familiar"))
    assert cli(["predict", "cifar_resnet", str(data / "digit 0")]) == 0  # of which nothing is known
    assert "not sure" not in capsys.readouterr().out


def test_predict_fails_when_no_file_is_an_image(run, tmp_path, capsys):
    (tmp_path / "notes").write_text("hello")
    assert cli(["predict", str(run), str(tmp_path / "notes")]) == 3
    out, err = capsys.readouterr()
    assert "unreadable: not an image" in out
    assert err.splitlines()[-1] == "error: no image could be read"


def test_predict_takes_patterns_and_many_files(run, data, capsys):
    assert cli(["predict", str(run), f"{data}/digit 0/*.png", str(data / "digit 1"), "--format", "json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 24
    assert all(json.loads(line)["trained_on"] for line in lines)


def test_evaluate_prints_each_class(run, data, capsys):
    assert cli(["evaluate", str(run), str(data), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["n"] == 24
    assert cli(["evaluate", str(run), str(data)]) == 0
    assert "digit 1      12" in capsys.readouterr().out


def test_a_class_the_classifier_does_not_know_is_named(run, tmp_path, capsys):
    write_digits(tmp_path / "other", classes=(1, 7), per_class=2)
    assert cli(["evaluate", str(run), str(tmp_path / "other")]) == 3
    assert "class 'digit 7' is unknown to this classifier; it knows: digit 0, digit 1" in capsys.readouterr().err


@pytest.fixture
def unsorted(data, tmp_path):
    """The same photos in one folder, `photos`, with their class in their name; and in `list.csv`, by ids."""
    (tmp_path / "photos").mkdir()
    lines = ["id,kind,sort"]
    for number, path in enumerate(sorted(data.glob("*/*"))):
        shutil.copy(path, tmp_path / "photos" / f"{path.parent.name}_{number}.png")
        lines.append(f"{path.parent.name}_{number},digit,{path.parent.name}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "given"), [("photos", ["--label-from", "(.*)_"]), ("list.csv", ["--label-column", "sort"])]
)
def test_where_labels_are_can_be_said_to_every_command(run, unsorted, name, given, capsys):
    data = str(unsorted / name)
    assert cli(["evaluate", str(run), data, *given, "--part", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 24
    assert cli(["finetune", data, *given, *FAST, "--dry-run"]) == 0
    assert "24 images, 2 classes: digit 0 (12), digit 1 (12)" in capsys.readouterr().err


def test_the_command_that_an_audit_ends_with_says_where_labels_are(unsorted, monkeypatch, capsys):
    monkeypatch.chdir(unsorted)
    assert cli(["audit", "photos", "--label-from", "(.*)_", *FAST[:-2], "-o", "audit"]) == 0
    again = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert again[:6] == ["next", "transferkit", "audit", "photos", "--label-from", "(.*)_"]
    assert cli(["clean.csv" if word == "CLEAN.csv" else word for word in again[2:]]) == 0


def test_one_class_is_enough_to_evaluate(run, tmp_path, capsys):
    write_digits(tmp_path / "only", classes=(1,), per_class=4)
    assert cli(["evaluate", str(run), str(tmp_path / "only"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["confusion"][0] == [0, 0]


@pytest.mark.parametrize(
    "form", ["safetensors", *(pytest.param(form, marks=pytest.mark.slow) for form in ("torch-export", "onnx"))]
)  # what is in each: tests/ship/test_export.py
def test_export_writes_a_file(run, tmp_path, form, capsys):
    out = tmp_path / f"model.{form}"
    assert cli(["export", str(run), "--format", form, "-o", str(out)]) == 0
    assert out.stat().st_size > 1000
    assert str(out) in capsys.readouterr().out


def test_export_replaces_a_file_only_when_asked_and_never_one_of_the_model(run, tmp_path, capsys):
    out, command = tmp_path / "mine", ["export", str(run), "--format", "safetensors"]
    out.write_text("mine")
    assert cli([*command, "-o", str(out)]) == 7
    assert "add --overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert cli([*command, "-o", str(out), "--overwrite"]) == 0
    assert out.stat().st_size > 1000
    before = (run / "model" / "model.safetensors").read_bytes()
    (tmp_path / "link").symlink_to(run / "model" / "model.safetensors")
    for own in (
        run / "model" / "model.safetensors",
        run / "model" / ".." / "model" / "model.safetensors",
        tmp_path / "link",
    ):
        assert cli([*command, "-o", str(own), "--overwrite"]) == 7
        assert "is the file that is read" in capsys.readouterr().err
    assert (run / "model" / "model.safetensors").read_bytes() == before


def test_the_report_can_be_written_again(run, capsys):
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert cli(["report", str(run)]) == 0
    assert (run / "report.html").read_bytes() == before
    assert capsys.readouterr().out.strip() == str(run / "report.html")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["finetune", "nowhere"],
        ["finetune", "nowhere", "--dry-run"],
        ["finetune", "--resume", "-o", "nowhere"],
        ["finetune", "nowhere", "--lr", "1000"],
        ["lr", "nowhere"],
    ],
    ids=" ".join,
)
def test_help_and_what_is_refused_before_images_are_found_import_no_torch(arguments, tmp_path):
    code = f"import sys; from transferkit.cli.main import run; run({arguments}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path).returncode == 0


def test_a_reader_that_has_seen_enough_ends_predict_quietly(run, data):
    command = f'"{sys.executable}" -m transferkit predict "{run}" "{data}" --format json | head -n 1'
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
