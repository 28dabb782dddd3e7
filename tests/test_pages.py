"""What the pages say: commands that exist, links that lead somewhere, examples that give what stands below them."""

import contextlib
import doctest
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import click
import pytest

import transferkit as tk
from tests.conftest import write_digits
from transferkit.cli import main
from transferkit.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:transferkit) [^`]+)`")
COMMAND = re.compile(r"(?:^|[$;&|] ?|-m )transferkit ((?:[^#\n|;&\"']|\"[^\"]*\"|'[^']*')+)", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SHELL = re.compile(r"\$\{resume.*?\)(?= -o)")  # what a script says or not


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(page: Path) -> list[str]:
    """The arguments of every command on a page."""
    text = SHELL.sub("", page.read_text()).replace("\\\n", " ")
    codes = [code for language, code in FENCED.findall(text) if language in ("", "console")]
    codes += INLINE.findall(FENCED.sub("", text))
    return [found.strip() for code in codes for found in COMMAND.findall(code)]


def parsed(line: str) -> None:
    """Raises: click.UsageError for a command or an option that does not exist, or a value that it does not take."""
    words, command = shlex.split(line), main.cli
    context = click.Context(command, info_name="transferkit")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, command, words = command.resolve_command(context, words)
        context = click.Context(command, info_name=name, parent=context)
    values, _, _ = command.make_parser(context).parse_args([word for word in words if word != "..."])
    for option in command.params:
        value = values.get(option.name)
        is_checked = isinstance(option.type, (click.Choice, click.types.IntRange, click.types.FloatRange))
        if is_checked and isinstance(option, click.Option) and isinstance(value, str) and not value.isupper():
            option.type.convert(value, option, context)  # in capitals it stands for a value


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_command_on_a_page_exists_with_its_options(page):
    for line in commands(page):
        parsed(line)


def test_the_pages_have_commands_and_one_that_does_not_exist_is_found():
    assert sum(len(commands(page)) for page in PAGES) > 100
    for wrong in ("finetun photos", "finetune photos --epoch 3", "finetune photos --strategy prob"):
        with pytest.raises(click.UsageError):
            parsed(wrong)


def anchors(page: Path) -> set[str]:
    """What a link may name of a page, as GitHub and the site make it of headings."""
    found = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    plain = (unicodedata.normalize("NFKD", re.sub(r"[^\w\s-]", "", title)).strip().lower() for title in found)
    return {re.sub(r"[\s]", "-", title) for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_within_the_repository_leads_somewhere(page):
    of_site = {"index.md": ROOT / "README.md", "results.md": ROOT / "benchmarks/RESULTS.md"}
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = of_site.get(name, (page.parent / name).resolve()) if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_site_lists_every_page():
    nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert f"- {page.name}\n" in nav


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder that the questions are asked in."""
    world = tmp_path_factory.mktemp("world")
    digits = write_digits(world / "digits", classes=(0, 1), per_class=12)
    for number, name in enumerate(("ant", "bee")):
        shutil.move(digits / f"digit {number}", world / "photos" / name)
    photos = world / "photos"
    for name, parts in {"copies": ("train", "test"), "loose": ("train",), "broken": ("",)}.items():
        for part in parts:
            shutil.copytree(photos, world / name / part)
    for extra in sorted((world / "copies" / "test").rglob("*.png"))[12:]:
        extra.unlink()
    (world / "copies/test/bee").rmdir()
    (world / "loose/test").mkdir()
    for number in range(3):
        shutil.copy(photos / "ant" / f"00{number}.png", world / "loose/test")
    content = (photos / "ant/000.png").read_bytes()
    (world / "broken/ant/bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (world / "broken/ant/000.png").write_bytes(content)
    shutil.copytree(photos / "ant", world / "one" / "ant")
    shutil.copytree(photos / "ant", world / "others" / "wasp")
    options = {"backbone": "cifar_resnet", "strategy": "probe", "l2": 0.01, "precision": "fp32"}
    tk.finetune(photos, out=str(world / "runs/photos"), progress=Progress(), **options)
    tk.finetune(photos, out=str(world / "runs/second"), progress=Progress(), seed=1, **options)
    return world


def asked() -> list[tuple[str, list[str]]]:
    """Each command among the questions, with the lines that it is said to print."""
    codes = [code for language, code in FENCED.findall((ROOT / "docs/faq.md").read_text()) if language == "console"]
    blocks = [code.splitlines() for code in codes]
    return [(first.removeprefix("$ transferkit "), said) for first, *said in blocks]


@pytest.mark.parametrize(("line", "said"), asked(), ids=[line for line, _ in asked()])
def test_an_answer_to_a_question_is_what_the_command_prints(world, monkeypatch, capsys, line, said):
    monkeypatch.chdir(world)
    main.run(shlex.split(line))
    printed = "".join(capsys.readouterr()).splitlines()
    assert said
    assert set(said) <= set(printed), printed


def test_the_examples_of_the_python_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "\n\n".join(code for language, code in FENCED.findall((ROOT / "docs/python.md").read_text()) if language)
    test = doctest.DocTestParser().get_doctest(text, {}, "python.md", "docs/python.md", 0)
    runner, told = doctest.DocTestRunner(), io.StringIO()
    with contextlib.redirect_stdout(told):
        runner.run(test, out=told.write)
    assert runner.summarize(verbose=False).attempted > 15
    assert not runner.failures, told.getvalue()


def test_the_notebook_is_kept_without_outputs_and_its_code_compiles():
    cells = json.loads((ROOT / "docs/tutorial.ipynb").read_text())["cells"]
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(codes) > 5
    for cell in codes:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        compile("".join(cell["source"]), "tutorial.ipynb", "exec")


@pytest.mark.slow  # .ci/run executes it each time
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs/tutorial.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    assert (tmp_path / "digits.onnx").is_file()


@pytest.mark.slow  # .ci/run builds it each time
def test_the_site_is_built_without_a_warning_and_asks_nothing_of_the_web(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, check=True)
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*\s(?:src|href)=\"([^\"]+)", page.read_text())
        assert loaded
        assert not [each for each in loaded if re.match(r"(?:https?:)?//", each)], page
