"""`transferkit ensemble` as a user runs it: what it prints where, and its exit codes."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import write_digits
from transferkit.cli.main import run as cli
from transferkit.model.build import create
from transferkit.ship import artifact

CLASSES = ("digit 0", "digit 1")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_digits(tmp_path_factory.mktemp("cli") / "digits", classes=(0, 1), per_class=6)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """A run folder, as far as its model goes, and a model folder with the classes in another order."""
    folder = tmp_path_factory.mktemp("models")
    for seed, (name, classes) in enumerate([("run/model", CLASSES), ("other", CLASSES[::-1])]):
        torch.manual_seed(seed)
        backbone = create("timm:test_resnet", num_classes=2, weights="none", image_size=32)
        artifact.save(
            folder / name,
            artifact.Artifact(backbone=backbone, classes=classes, preprocessing=backbone.card.preprocessing, record={}),
        )
    return [str(folder / "run"), str(folder / "other")]


def test_with_json_stdout_is_one_object_with_the_scores_of_each_member(models, data, tmp_path, capsys):
    out = str(tmp_path / "both")
    assert cli(["ensemble", *models, "-o", out, "--data", str(data), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["model"], said["members"], said["passes"], said["calibration"]) == (out, models, 2, None)
    assert (said["scores"]["part"], said["scores"]["n"], said["scores"]["classes"]) == ("all", 12, list(CLASSES))
    for name, expected in [*zip(models, said["scores"]["members"]), (out, said["scores"])]:
        assert cli(["evaluate", name, str(data), "--json"]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert (alone["accuracy"], alone["loss"]) == pytest.approx((expected["accuracy"], expected["loss"]), rel=1e-6)


def test_only_a_test_score_stands_in_the_model_card(models, data, tmp_path, capsys):
    shutil.copytree(data, tmp_path / "split" / "train")
    shutil.copytree(data, tmp_path / "split" / "test")
    for name, source, is_shown in (("plain", data, False), ("tested", tmp_path / "split", True)):
        assert cli(["ensemble", *models, "-o", str(tmp_path / name), "--data", str(source), "--json"]) == 0
        said, warning = capsys.readouterr()
        row = f" | {100 * json.loads(said)['scores']['accuracy']:.1f} % | 12 |"
        assert (row in (tmp_path / name / "README.md").read_text()) == is_shown
        assert ("DATA has no test part" in warning) != is_shown


def test_the_table_has_a_line_for_each_member_and_the_ensemble(models, data, tmp_path, capsys):
    assert cli(["ensemble", *models, "-o", str(tmp_path / "both"), "--data", str(data), "--quiet"]) == 0
    out, _ = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[-4:]] == ["member", *models, "ensemble"]


def test_without_data_it_says_what_was_written_and_no_more(models, tmp_path, capsys):
    assert cli(["ensemble", *models, "-o", str(tmp_path / "both")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0].split() == ["model", str(tmp_path / "both")]
    assert re.search(r"calibrated\s+no: \S+/run\s+has no unseen\.safetensors, which finished runs have", out)
    assert cli(["predict", str(tmp_path / "both"), str(tmp_path / "both" / "README.md")]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["RUN", "-o", "NEW"], 2, "at least two"),
        (["RUN", "nowhere", "-o", "NEW"], 2, "nowhere"),
        (["RUN", "OTHER"], 2, "--out"),
        (["RUN", "cifar_resnet", "-o", "NEW"], 2, "lacks digit 0, digit 1 and adds airplane"),
        (["RUN", "OTHER", "-o", "NEW", "--data", "nowhere"], 2, "no such folder or CSV file: nowhere"),
        (["RUN", "OTHER", "-o", "NEW", "--data", "FOREIGN"], 3, "class 'digit 7' is unknown to this classifier"),
        (["RUN", "DAMAGED", "-o", "NEW"], 4, "model.safetensors is not the file that was saved"),
        (["RUN", "OTHER", "-o", "FOREIGN"], 7, "FOREIGN exists already; name another folder with -o"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line_with_its_exit_code_and_writes_nothing(
    arguments, code, said, models, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "FOREIGN", classes=(1, 7), per_class=2)
    weights = shutil.copytree(models[1], tmp_path / "DAMAGED") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    real = {"RUN": models[0], "OTHER": models[1]}
    assert cli(["ensemble", *(real.get(argument, argument) for argument in arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.splitlines()[-1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["DAMAGED", "FOREIGN"]


def test_an_ensemble_as_a_backbone_is_refused_with_the_folder_to_name(models, data, tmp_path, capsys):
    assert cli(["ensemble", *models, "-o", str(tmp_path / "both")]) == 0
    assert cli(["finetune", str(data), "--backbone", str(tmp_path / "both"), "-o", str(tmp_path / "r")]) == 2
    assert "both/members/0" in capsys.readouterr().err.splitlines()[-1]
