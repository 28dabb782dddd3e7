"""What tests of the command share: a small data set and a run of it."""

from pathlib import Path

import pytest

import transferkit as tk
from tests.conftest import write_digits


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_digits(tmp_path_factory.mktemp("cli") / "digits", classes=(0, 1), per_class=12)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    options = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "probe"}
    return tk.finetune(data, out=str(tmp_path_factory.mktemp("run") / "r"), **options).folder
