"""What a person types: names of other tools, names that are wrong, names that a shell completes."""

import os

import pytest
from click.shell_completion import BashComplete

from tests.conftest import write_digits
from transferkit import scratch
from transferkit.cli import main, options
from transferkit.cli.main import cli as group
from transferkit.cli.main import run as cli


@pytest.mark.parametrize(("alias", "name"), [("train", "finetune"), ("val", "evaluate")])
def test_a_command_has_the_name_that_other_tools_give_it(alias, name, capsys):
    said = []
    for word in (alias, name):
        assert cli([word, "--help"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("words", "is_there"), [(["train"], True), (["finetune"], True), (["val"], False), ([], False)]
)
def test_the_compiler_has_a_folder_that_goes_where_a_command_trains(words, is_there, monkeypatch):
    seen = []
    monkeypatch.delenv(scratch.COMPILER, raising=False)
    monkeypatch.setattr(main.cli, "main", lambda *args, **options: seen.append(scratch.COMPILER in os.environ))
    assert cli(words) == 0
    assert seen == [is_there]


def test_a_run_by_another_name_is_the_run(tmp_path, capsys):
    data = write_digits(tmp_path / "my digits", classes=(0, 1), per_class=6)
    fast = ["--backbone", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--strategy", "probe"]
    assert cli(["train", str(data), *fast, "-o", str(tmp_path / "the run"), "--quiet"]) == 0
    assert f"next        transferkit predict '{tmp_path / 'the run'}' PHOTO..." in capsys.readouterr().out
    assert cli(["val", str(tmp_path / "the run"), str(data), "--quiet"]) == 0
    assert "digit 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "{}/photos-2"], "no such run: {}/photos-2; did you mean {}/photos-1?"),
        (
            ["compare", "{}/photos-1", "{}/photos-2"],
            "{}/photos-1 is no run, or not one that is finished: it has no metrics.json",
        ),
        (["report", "{}/deep/er"], "no such run: {}/deep/er; there is no folder {}/deep"),
        (["zoo", "list", "resnt18"], "no network is named like resnt18; near it are resnet18"),
    ],
)
def test_a_mistyped_name_is_told_with_what_is_near_it(words, said, tmp_path, capsys):
    (tmp_path / "photos-1").mkdir()
    assert cli([word.format(tmp_path) for word in words]) == 2
    assert said.replace("{}", str(tmp_path)) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pattern", "found", "not_found"),
    [
        ("siglip2", "vit_base_patch16_siglip_224.v2_webli", "vit_base_patch16_siglip_224.webli"),
        ("*SigLIP2*", "vit_base_patch16_siglip_224.v2_webli", "vit_base_patch16_siglip_224"),
        ("efficientnet_lite0", "tf_efficientnet_lite0", "efficientnet_lite1"),
        ("efficientnet_lite?", "efficientnet_lite1", "tf_efficientnet_lite0"),
    ],
)
def test_networks_are_found_by_a_word_a_pattern_and_by_what_their_makers_call_them(pattern, found, not_found, capsys):
    assert cli(["zoo", "list", pattern]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert found in listed
    assert not_found not in listed


def completed(*words):
    """What bash is offered for the last of the words: kind and value."""
    found = BashComplete(group, {}, "transferkit", "").get_completions(list(words[:-1]), words[-1])
    return [(each.type, each.value) for each in found]


def test_a_shell_completes_networks_files_and_options(tmp_path):
    assert ("plain", "efficientnet_lite0") in completed("finetune", "--backbone", "efficientnet_li")
    assert completed("finetune", "--backbone", "cifar_resnet+efficientnet_lite0")[0] == (
        "plain",
        "cifar_resnet+efficientnet_lite0",
    )
    assert completed("finetune", "--backbone", f"{tmp_path}/") == [("file", f"{tmp_path}/")]
    assert completed("zoo", "show", "cifar_re") == [("plain", "cifar_resnet")]
    assert ("plain", "lp-ft") in completed("finetune", "photos", "--strategy", "l")
    for command, taken in {"predict": 2, "evaluate": 2, "finetune": 1, "report": 1, "audit": 1}.items():
        for count in range(taken):
            assert completed(command, *["x"] * count, "runs/ph") == [("file", "runs/ph")]


def test_what_is_completed_is_an_option_and_what_is_named_again_a_command():
    assert options.COMPLETED.keys() <= options.DECLARED.keys()
    assert {*main.ALIASES.values()} <= group.commands.keys()
