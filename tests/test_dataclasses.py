"""What is handed from one function to another cannot be changed on the way, and is made by naming its fields."""

import dataclasses
import importlib
import inspect
import pkgutil

import pytest

from transferkit import model, train

POSITIONAL = {"FreezeReport", "Trial"}  # of one field, and of two that are a point of a curve
CHANGING = {"_Course"}  # what a descent has come to so far


def found():
    for package in (model, train):
        for entry in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(entry.name)
            for name, kind in inspect.getmembers(module, dataclasses.is_dataclass):
                if inspect.isclass(kind) and kind.__module__ == entry.name:
                    yield pytest.param(kind, id=name)


@pytest.mark.parametrize("kind", list(found()))
def test_a_dataclass_is_frozen_and_made_by_naming_its_fields(kind):
    assert kind.__dataclass_params__.frozen == (kind.__name__ not in CHANGING)
    assert all(field.kw_only for field in dataclasses.fields(kind)) == (kind.__name__ not in POSITIONAL)
