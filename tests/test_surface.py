"""What the package shows of itself: to Python, to tab completion and to type checkers."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import transferkit as tk

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = {
    "transferkit": "Classifier FinetuneConfig Prediction Run __version__ compare ensemble finetune freeze load "
    "reset_head zoo",
    "transferkit.zoo": "cards create describe search suggest wrap",
}

HAS_CHECKER = importlib.util.find_spec("basedpyright") is not None
HAS_LINKS = not (ROOT / ".types/transferkit/zoo").is_file()  # git on Windows may write a link as a text file


def needs_checker(test):
    """The test, skipped where no type checker can run."""
    test = pytest.mark.skipif(not HAS_CHECKER, reason="basedpyright is not installed; it comes with .[dev]")(test)
    return pytest.mark.skipif(not HAS_LINKS, reason="this checkout has no symbolic links (git's core.symlinks)")(test)


def errors(*paths: str) -> list[str]:
    """What the type checker finds in files of ours, or in all that pyrightconfig.json names: `file:line message`."""
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--outputjson", *paths]
    report = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout)
    assert report["summary"]["filesAnalyzed"] >= (len(paths) or 100)
    found = [each for each in report["generalDiagnostics"] if each["severity"] == "error"]
    return [f"{each['file']}:{each['range']['start']['line'] + 1} {each['message']}" for each in found]


@pytest.mark.parametrize("module", [tk, tk.zoo], ids=lambda module: module.__name__)
def test_the_public_names_are_these_and_completion_offers_them(module):
    names = PUBLIC[module.__name__].split()
    assert dir(module) == module.__all__ == names
    assert all(getattr(module, name) is not None for name in names)


@pytest.mark.parametrize("module", [tk, tk.zoo], ids=lambda module: module.__name__)
def test_type_checkers_are_shown_the_very_objects_that_a_user_gets(module):
    tree = ast.parse(Path(module.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    shown = {}
    exec(ast.unparse(ast.Module(block.body, [])), shown)  # noqa: S102
    for name in PUBLIC[module.__name__].split():
        assert name == "__version__" or shown[name] is getattr(module, name)


def test_looking_at_the_public_names_imports_no_torch():
    code = "import sys, transferkit as tk; dir(tk), dir(tk.zoo); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_package_says_that_it_is_typed():
    assert (Path(tk.__file__).parent / "py.typed").is_file()
    assert "\ntransferkit = py.typed\n" in (ROOT / "setup.cfg").read_text()  # so that a wheel has it; .ci/run looks


@needs_checker
def test_a_type_checker_understands_the_interface_as_the_readme_uses_it():
    assert errors("tests/api_use.py") == []


@needs_checker
def test_the_benchmarks_call_the_package_as_it_is():
    ours = [str(path) for path in (ROOT / "benchmarks").rglob("*.py") if "transferkit" in path.read_text()]
    ours.remove(str(ROOT / "benchmarks/multi_label.py"))  # scikit-learn's types take as long as all the others
    unfit = ("Argument missing", "unknown import symbol", 'not a known attribute of module "transferkit')
    assert [error for error in errors(*ours) if any(words in error for words in unfit)] == []


@needs_checker
@pytest.mark.slow
def test_a_type_checker_finds_no_error_in_the_package():
    assert errors() == []
