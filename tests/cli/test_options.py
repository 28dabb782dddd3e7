import inspect
import re
from pathlib import Path

import pytest

import transferkit as tk
from transferkit import flow
from transferkit.choices import LR, LR_STEPS
from transferkit.cli import options, options_page
from transferkit.cli.finetune import finetune
from transferkit.cli.main import run as cli
from transferkit.option import GROUPS, dashed
from transferkit.options import DECLARED, default_of
from transferkit.signature import default_words
from transferkit.train import strategies
from transferkit.zoo.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
OF_THE_COMMAND = {
    *("data", "config_file", "dry_run", "resume", "overwrite", "processes", "as_json", "quiet", "debug", "help"),
}


def help_of(command: str, capsys) -> str:
    assert cli([command, "--help"]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_command_takes_what_is_declared_and_what_is_its_own_and_nothing_else():
    assert {each.name for each in finetune.params} == DECLARED.keys() | (OF_THE_COMMAND - {"help"})


def test_every_option_stands_in_the_help_under_its_group_with_what_it_is_for_and_its_default(capsys):
    assert cli(["finetune", "--help"]) == 0
    sections = re.split(r"^(\w+):$", capsys.readouterr().out, flags=re.M)
    shown = {name.lower(): " ".join(text.split()) for name, text in zip(sections[1::2], sections[2::2])}
    assert [name for name in shown if name in GROUPS] == list(GROUPS)
    for name, about in DECLARED.items():
        text = shown[about.group]
        assert f"--{name.replace('_', '-')}" in text
        words = " ".join(options.help_of(name).split())
        assert words.replace(" ", "") in text.replace(" ", ""), name  # lines may break at a hyphen
        if default := default_words(name):
            assert f"[default:{default.replace(' ', '')}]" in text.replace(" ", ""), name


def test_the_learning_rates_that_the_help_names_are_those_of_a_run():
    for optimizer, rate in LR.items():
        resolved = tk.FinetuneConfig(data="x", optimizer=optimizer).resolved(images=100, are_few=True)
        assert f"{optimizer} {resolved.lr:g}" in default_words("lr")
        assert resolved.lr == rate


def test_a_search_for_a_rate_is_told_no_defaults_of_a_strategy_that_it_has_not(capsys):
    assert "auto half" in help_of("finetune", capsys)
    assert "with auto" not in help_of("lr", capsys)


def test_the_steps_of_a_search_for_a_rate_have_one_range(capsys):
    least, most = LR_STEPS
    assert f"{least}<=x<={most}" in help_of("lr", capsys)
    for steps in (least - 1, most + 1):
        assert cli(["lr", "photos", "--steps", str(steps)]) == 2
        with pytest.raises(UsageError, match=f"allowed: {least} to {most:,}"):
            flow.try_rates("photos", steps=steps)


def test_the_page_of_options_is_what_their_declarations_make():
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == options_page.page()


def test_a_strategy_stands_in_the_help_and_is_a_choice(capsys):
    text = help_of("finetune", capsys)
    for strategy in strategies.TABLE:
        assert f"{strategy.name}: {strategy.help}." in text


def test_the_signature_of_finetune_and_its_docstring_have_every_option():
    parameters = inspect.signature(tk.finetune).parameters
    for name in DECLARED:
        assert parameters[name].default == default_of(name)
        assert f"{name}: {options.help_of(name)}" in tk.finetune.__doc__
    assert not [each for each in parameters.values() if each.kind is inspect.Parameter.VAR_KEYWORD]


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_other_commands_check_the_options_that_they_share(command, tmp_path, capsys):
    assert cli([command, str(tmp_path), str(tmp_path), "--bit-depth", "17"]) == 2
    assert "--bit-depth 17 is out of range; allowed: 8 to 16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "unused"),
    [
        ({"layer_decay": 0.5, "epochs": 3}, ["--epochs", "--layer-decay"]),
        ({"layer_decay": 0.5, "epochs": 3, "dropout": 0.5}, ["--layer-decay"]),
        ({"patience": 8, "lr": 0.1}, ["--lr"]),
    ],
)
def test_options_that_a_head_alone_does_not_use_are_named(given, unused):
    config = tk.FinetuneConfig(data="x", strategy="probe", **given)
    assert config.chosen_strategy.unused(config) == unused


@pytest.mark.parametrize(
    "given",
    [
        {"dropout": 0.5},
        {"dropconnect": 0.5},
        {"snapshots": 3},
        {"schedule": "cosine"},
        {"schedule": "inverse", "decay": 0.1},
        {"schedule": "inverse", "decay": 0.1, "compounding": True},
        {"schedule": "step", "step_epochs": 2},
        {"compile": True},
    ],
    ids=lambda given: list(given)[-1],
)
def test_the_page_names_the_probe_for_no_option_that_it_refuses_where_it_is_solved_for(given):
    tk.FinetuneConfig(data="x", strategy="finetune", **given)
    with pytest.raises(UsageError):
        tk.FinetuneConfig(data="x", strategy="probe", optimizer="lbfgs", **given)
    (row,) = [line for line in options_page.page().splitlines() if line.startswith(f"| `{dashed(list(given)[-1])}` ")]
    users = row.split(" | ")[3].split(", ")
    assert {"auto", "finetune", "lp-ft"} <= set(users) <= {"auto", "finetune", "lp-ft", "probe by mini-batches"}


def test_no_flag_has_a_default_that_hides_that_it_was_not_given():
    assert all(each.default is None for each in finetune.params if each.name in DECLARED)
