"""Cells of CSV files: what a spreadsheet would compute, and what is read back."""

import csv

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import write_digits
from transferkit.data import cells, folder, manifest
from transferkit.data.cells import defused, original
from transferkit.ship import run_files


@given(st.text(st.sampled_from("'=+-@\t\r ,\"a1")))
@example("'=1")
def test_no_cell_begins_like_a_formula_and_each_is_read_back_as_it_was(cell):
    (written,) = defused([cell])
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert original(written) == cell


@pytest.mark.parametrize("cell", ["cat", "'t Zand", "", "3", "/photos/=x.png", "C:\\-x"])
def test_other_cells_are_left_alone(cell):
    assert defused([cell]) == [cell]
    assert original(cell) == cell


def test_names_of_columns_are_defused_and_read_back(tmp_path):
    cells.write(tmp_path / "predictions.csv", ("path", "=1+1"), [("a", "0.5")])
    assert (tmp_path / "predictions.csv").read_text().startswith("path,'=1+1")
    assert run_files.read_rows(tmp_path / "predictions.csv", ("path", "=1+1")) == [["a", "0.5"]]
    (tmp_path / "labels.csv").write_text("path,'=1+1\na.png,1\nb.png,0\n")
    assert folder.read(tmp_path / "labels.csv", to_train=True).classes == ("=1+1",)


def test_a_manifest_of_classes_like_formulas_is_harmless_and_still_the_same_data(tmp_path):
    data = tmp_path / "photos"
    data.mkdir()
    for number, name in enumerate(("=1+1", "@SUM(A1)", "-1", "cat")):
        write_digits(tmp_path / "made", classes=(number,), per_class=2)
        (tmp_path / "made" / f"digit {number}").rename(data / name)
    listing = folder.read(data, to_train=True)
    count = len(listing.labels)
    manifest.write_manifest(tmp_path / "manifest.csv", listing, sha256=["0"] * count, bytes=[1] * count)
    with open(tmp_path / "manifest.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert {row[1] for row in rows} == {"'=1+1", "'@SUM(A1)", "'-1", "cat"}
    again = folder.read(tmp_path / "manifest.csv", to_train=True)
    assert again.classes == listing.classes
    assert np.array_equal(again.labels, listing.labels)
