"""Images that a user keeps together are never divided, and an option that keeps nothing together is refused."""

import numpy as np
import pytest

from transferkit.data import folder
from transferkit.data.hints import Hints
from transferkit.tasks import SINGLE_LABEL
from transferkit.zoo.errors import UsageError

ROWS = "path,label,patient\n" + "".join(f"{n}-{'ab'[n % 2]}.png,{'xy'[n // 4 % 2]},p{n % 3}\n" for n in range(12))


@pytest.fixture
def table(tmp_path):
    (tmp_path / "data.csv").write_text(ROWS)
    return tmp_path / "data.csv"


def test_a_pattern_groups_by_what_it_finds_in_brackets_or_by_all_of_it(digit_folder):
    paths = [path.name for path in folder.read(digit_folder).paths]
    ten = folder.read(digit_folder, Hints(group_by=r"/(\d\d)\d\.png")).groups
    assert ten.tolist() == [name[:2] for name in paths]
    some = folder.read(digit_folder, Hints(group_by=r"01\d")).groups
    assert some.tolist() == [name[:3] if name.startswith("01") else "" for name in paths]


def test_a_column_groups_by_its_values_and_is_no_class(table):
    listing = folder.read(table, Hints(group_by="patient"))
    assert listing.groups.tolist() == [f"p{n % 3}" for n in range(12)]
    assert listing.notes[-1] == "--group-by: 12 images in 3 groups"
    table.write_text("path,cat,dog,patient\na.png,1,0,7\nb.png,0,1,7\nc.png,0,1,\n")
    listing = folder.read(table, Hints(group_by="patient"))
    assert listing.classes == ("cat", "dog")
    assert listing.groups.tolist() == ["7", "7", ""]


def test_groups_of_the_csv_are_joined_with_those_asked_for(table):
    table.write_text("path,label,group,camera\na.png,x,1,n\nb.png,x,1,\nc.png,y,,n\nd.png,y,,m\n")
    groups = folder.read(table, Hints(group_by="camera")).groups
    assert groups[0] == groups[1] == groups[2] != groups[3]
    table.write_text("path,label,group,camera\na.png,x,1,\nb.png,x,1,\nc.png,y,,n\nd.png,y,,m\ne.png,y,,\nf.png,y,,\n")
    groups = folder.read(table, Hints(group_by="camera")).groups
    assert groups[0] == groups[1] != ""
    assert len({*groups[groups != ""]}) + int((groups == "").sum()) == 5


@pytest.mark.parametrize("seed", range(3))
def test_groups_asked_for_are_never_divided(table, seed):
    listing = folder.read(table, Hints(group_by=r"^(\d+)"))
    given = folder.read(table, Hints(group_by="patient"))
    assert len(set(listing.groups)) == 12
    parts = SINGLE_LABEL.assign_parts(given.labels, given.parts, fraction=0.4, seed=seed, groups=given.groups)
    assert {*parts} == {"train", "val"}
    assert all(len(set(parts[given.groups == name])) == 1 for name in np.unique(given.groups))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "is no column of .*, which has path, label, patient, and no regular expression"),
        ("nobody", "is no column of .* and found in no path, such as 0-a.png"),
        ("png", "puts all 12 images into one group"),
        ("x*", "found in no path"),
    ],
)
def test_what_groups_nothing_is_refused_in_one_line(table, pattern, words):
    with pytest.raises(UsageError, match=words) as caught:
        folder.read(table, Hints(group_by=pattern))
    assert "\n" not in str(caught.value)


def test_a_folder_has_no_columns(digit_folder):
    with pytest.raises(UsageError, match=r"^--group-by 'patient' is found in no path, such as digit 0/000.png$"):
        folder.read(digit_folder, Hints(group_by="patient"))
