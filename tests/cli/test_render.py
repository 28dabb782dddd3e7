"""What is shown to a person: names of a stranger, without what a terminal would obey."""

import io
import sys

import pytest

from transferkit.cli import render
from transferkit.cli.main import run as cli

HOSTILE = "cat\x1b]0;owned\x07\nerror: two [/red][bold] \u202egpj"
SHOWN = r"cat\x1b]0;owned\x07\nerror: two [/red][bold] \u202egpj"


def told(progress: render.Progress) -> None:
    progress.say(HOSTILE)
    progress.start(HOSTILE, 2)
    progress.advance(2)
    progress.note(HOSTILE)
    progress.say(HOSTILE)
    progress.finish()


def test_progress_in_lines_shows_a_hostile_name_on_one_line(capsys):
    told(render.PlainProgress())
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.startswith(SHOWN) for line in err.splitlines()] == [True] * 4


def test_live_progress_shows_a_hostile_name_as_text(monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("COLUMNS", "200")
    told(render.LiveProgress())
    assert "\x1b" not in stderr.getvalue()
    assert stderr.getvalue().count(SHOWN) >= 3


def test_tables_facts_and_errors_show_a_hostile_name_on_one_line(capsys):
    render.table((HOSTILE, "n"), [(HOSTILE, "1")])
    render.facts({"name": HOSTILE})
    out = capsys.readouterr().out
    assert out.count(SHOWN) == out.count("\n") == 3
    assert cli(["finetune", "no\x1b[2Jwhere"]) == 2
    assert capsys.readouterr().err == "error: no such folder or CSV file: no\\x1b[2Jwhere\n"
    assert cli(["predict", "no\x1b[2Jwhere"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("indent", [None, 1])
def test_json_is_ascii(capsys, indent):
    render.data({"name": HOSTILE}, indent=indent)
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
