"""Each promise of the README names the test that holds it, and that test is there and part of every run."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
SECTION = (ROOT / "README.md").read_text("utf-8").partition("## What you can count on")[2].partition("\n## ")[0]


def test_every_promise_names_a_test():
    promises = re.split(r"^- ", SECTION, flags=re.M)[1:]
    assert len(promises) == 5
    assert all(NAMED.search(promise) for promise in promises)


@pytest.mark.parametrize(("file", "name"), NAMED.findall(SECTION))
def test_the_test_that_a_promise_names_is_part_of_every_run(file, name):
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert len(found) == 1
    marks = [ast.unparse(decorator) for decorator in found[0].decorator_list]
    assert not [mark for mark in marks if "faults" in mark or "slow" in mark]
