"""transferkit pretrain as a user runs it."""

import json
import shlex

import pytest

from tests.conftest import write_digits
from transferkit.cli.main import run as cli
from transferkit.zoo import files

RECIPE = {
    "network": "cifar_resnet", "epochs": 1, "batch_size": 8, "optimizer": "nesterov", "peak_lr": 0.05,
    "warmup_share": 0.2, "l2": 2.5e-4, "label_smoothing": 0.1, "max_shift_px": 2,
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    for part in ("train", "test"):
        write_digits(tmp_path / "CIFAR" / part, classes=(0, 1), per_class=8)
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_in_the_card_makes_the_same_weights_again(here, capsys):
    given = ["--data", "CIFAR", "--recipe", "recipe.json", "--seed", "3", "-o", "net.safetensors", "--device", "cpu"]
    assert cli(["pretrain", "cifar_resnet", *given]) == 0
    out = capsys.readouterr().out
    assert "16 test images: " in out
    first = files.sha256(here / "net.safetensors")
    command = json.loads((here / "net.json").read_text())["training"]["command"]
    (here / "net.safetensors").unlink()
    assert cli([*shlex.split(command)[1:], "--device", "cpu"]) == 0
    assert files.sha256(here / "net.safetensors") == first


def test_weights_that_are_there_are_kept_unless_overwritten(here, capsys):
    given = ["pretrain", "cifar_resnet", "--data", "CIFAR", "--recipe", "recipe.json", "-o", "net.safetensors"]
    (here / "net.safetensors").write_bytes(b"mine")
    assert cli([*given, "--quiet"]) == 7
    assert "net.safetensors is there already; name another -o, or add --overwrite" in capsys.readouterr().err
    assert (here / "net.safetensors").read_bytes() == b"mine"
    assert cli([*given, "--quiet", "--overwrite"]) == 0
    assert (here / "net.safetensors").read_bytes() != b"mine"


def test_with_json_the_card_is_printed(here, capsys):
    given = ["--data", "CIFAR", "--recipe", "recipe.json", "-o", "net.safetensors", "--json", "--quiet"]
    assert cli(["pretrain", "cifar_resnet", *given]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["sha256"] == files.sha256(here / "net.safetensors")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["cifar_mlp", "--recipe", "recipe.json"], "is a recipe of cifar_resnet, not of cifar_mlp"),
        (["cifar_resnet", "--recipe", "nowhere.json"], "nowhere.json"),
        (["cifar_resnet", "--recipe", "list.json"], "is not a recipe"),
        (["cifar_mlp", "--teacher", "cifar_resnet"], "a recipe of cifar_mlp has no teacher"),
        (["cifar_resnet", "--recipe", "recipe.json", "-o", "net.json"], "name the weights FILE.safetensors"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(given, said, here, capsys):
    (here / "list.json").write_text("[1]")
    assert cli(["pretrain", *given, "--data", "CIFAR", *([] if "-o" in given else ["-o", "net.safetensors"])]) in (2, 4)
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (here / "net.safetensors").exists()
