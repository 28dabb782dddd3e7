"""What docs/lecture.md names is there: commands and their options, functions, files, tests, figures, numbers."""

import ast
import doctest
import inspect
import pkgutil
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.slides import drawing, page
from transferkit.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "lecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
SLIDES = re.split(r"^### (?=\d)", TEXT, flags=re.MULTILINE)[1:]
SPANS = re.findall(r"`([^`\n]+)`", TEXT)
LINKS = [target for target in re.findall(r"\]\(([^)\s]+)\)", TEXT) if not target.startswith("http")]


@pytest.mark.parametrize("line", sorted({span for span in SPANS if span.startswith("transferkit ")}))
def test_a_command_on_the_page_is_one_that_the_command_line_takes(line):
    name, *arguments = shlex.split(line)[1:]
    cli.commands[name].make_context(name, arguments)  # parses, runs nothing; an unknown option or value raises


@pytest.mark.parametrize("line", sorted({span for span in SPANS if span.startswith("--")}))
def test_options_on_the_page_are_options_of_finetune_with_values_it_takes(line):
    cli.commands["finetune"].make_context("finetune", ["photos", *shlex.split(line)])


@pytest.mark.parametrize("call", sorted({span for span in SPANS if span.startswith("transferkit.")}))
def test_a_function_on_the_page_is_there_and_has_the_arguments_it_is_called_with(call):
    parsed = ast.parse(call, mode="eval").body
    if not isinstance(parsed, ast.Call):
        assert callable(pkgutil.resolve_name(call))
        return
    given = {keyword.arg: None for keyword in parsed.keywords}
    inspect.signature(pkgutil.resolve_name(ast.unparse(parsed.func))).bind(*parsed.args, **given)


@pytest.mark.parametrize("target", sorted(set(LINKS)))
def test_a_file_or_figure_that_the_page_links_to_is_there(target):
    assert (PAGE.parent / target).is_file()


@pytest.mark.parametrize("name", sorted({span for span in SPANS if span.startswith("tests/")}))
def test_a_test_that_the_page_names_is_there(name):
    file, function = name.split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_slide_says_how_it_is_used_which_file_does_it_which_test_holds_it_and_where_it_is_from():
    assert len(SLIDES) == 20
    for slide in SLIDES:
        title = slide.splitlines()[0]
        assert re.search(r"^- Use: ", slide, re.MULTILINE), title
        assert re.search(r"^- Code: \[[\w/]+\.py\]\(\.\./", slide, re.MULTILINE), title
        assert re.search(r"^- Tests?:\s+`tests/\w+/\w+\.py::test_", slide, re.MULTILINE), title
        assert re.search(r"^- Sources?: \[.*\]\(https?://", slide, re.MULTILINE), title


def test_the_numbers_on_the_page_are_those_of_the_last_measurement():
    found = page.fill(TEXT, page.read(PAGE.with_suffix("")))
    assert found == TEXT
    assert page.MISSING not in found


def test_no_line_begins_with_a_mark_which_would_end_the_paragraph_in_markdown():
    assert not [line for line in TEXT.splitlines() if line.startswith("<!--")]


def test_a_number_is_printed_as_its_mark_asks():
    results = {"runs": {}, "parts": {"a": {"b": {"share": 0.1234, "gain": -0.012, "masks": 2}}}}
    text = "<!--a.b.share:.1%-->old<!--/-->, <!--a.b.gain:+points--><!--/-->, <!--a.b.masks-->9<!--/-->"
    shown = re.sub(r"<!--.*?-->", "", page.fill(text, results))
    assert shown == "12.3 %, -1.2, 2"


def test_the_page_says_from_how_many_runs_its_numbers_are_and_a_run_without_parts_is_forgotten(tmp_path):
    machine = {"processor": "Abacus", "cores": 2, "threads": 1, "device": "cpu", "versions": {"torch": "2.9"}}
    runs = {f"2026-01-0{day}T12:00:00Z": machine for day in (1, 2, 3)}
    first, second, _ = runs
    parts = {"a": {"origin": first}, "b": {"origin": second}, "c": {"origin": second}}
    page.keep(tmp_path, {"runs": runs, "parts": parts})
    said = page.fill("<!--runs--><!--/-->", page.read(tmp_path))
    assert "2 runs: 1 part on 2026-01-01 (Abacus" in said
    assert "; 2 parts on 2026-01-02 (Abacus" in said
    assert "2026-01-03" not in said


@pytest.mark.parametrize("module", [page, drawing], ids=lambda module: module.__name__)
def test_the_examples_of_what_makes_the_page_run(module):
    failures, tried = doctest.testmod(module)
    assert failures == 0
    assert tried


def test_the_figures_are_small():
    figures = list(PAGE.with_suffix("").glob("*.png"))
    assert figures
    assert max(figure.stat().st_size for figure in figures) <= 80_000
    assert sum(figure.stat().st_size for figure in figures) <= 1_000_000
