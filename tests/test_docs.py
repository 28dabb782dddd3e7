"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import transferkit
import transferkit.cli
import transferkit.zoo

PACKAGES = (transferkit, transferkit.cli, transferkit.zoo)  # a checkout has the latter two beside the first
MODULES = sorted(
    {each.name for package in PACKAGES for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")}
    | {package.__name__ for package in PACKAGES}
)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_of_a_module_run(name):
    module = importlib.import_module(name)
    failures, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failures == 0
