"""Augmentation files with wrong values: a line that says so, never a bug, never hours or gigabytes."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from transferkit import augment_file
from transferkit.augment_file import CONTAINERS, TRANSFORMS
from transferkit.data import augment, augment_trial
from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import UsageError

PREPROCESSING = Preprocessing(size_px=(32, 32))
PHOTO = Image.effect_noise((40, 48), 60).convert("RGB")
ARGUMENTS = (
    *("p", "height", "width", "size", "scale", "limit", "rotate", "fill", "num_holes_range", "blur_limit", "grid", "n"),
    *("n_segments", "max_size", "interpolation", "quality_range", "border_mode", "transforms", "lambda", "seed"),
)
odd = st.sampled_from(["1e9", "99999999", "nan", "../x", "\x1b[2J", [1, 2], [0.1, 0.9], {}, {"x": [[]]}, [None, "é"]])
values = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 300), st.integers(), st.floats(), st.text(max_size=4), odd
)
names = st.one_of(st.sampled_from([*sorted(TRANSFORMS), *CONTAINERS]), st.sampled_from(["Lambda", "os.system"]), values)
leaf = st.builds(
    lambda name, arguments: {"__class_fullname__": name, **arguments},
    names,
    st.dictionaries(st.sampled_from(ARGUMENTS), values, max_size=2),
)
branch = st.builds(
    lambda name, children, p: {"__class_fullname__": name, "transforms": children, "p": p},
    st.sampled_from(CONTAINERS),
    st.lists(leaf, max_size=2) | values,
    values,
)
pipeline = leaf | branch
files = st.one_of(pipeline.map(lambda found: {"transform": found}), values)


def written(path, *transforms):
    outer = {"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": list(transforms)}}
    path.write_text(json.dumps(outer))
    return str(path)


def campaign(examples, folder, figure):
    outcomes, lines = {"refused": 0, "taken": 0}, []

    @settings(
        max_examples=examples, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    @given(files, st.sampled_from([".json", ".yaml"]))
    def law(content, suffix):
        path = folder / f"file{suffix}"
        path.write_text(json.dumps(content))
        try:
            augment_file.mirrors(path)
            augment.load(path, PREPROCESSING)
            outcomes["taken"] += 1
        except UsageError as error:
            outcomes["refused"] += 1
            lines.append(str(error))

    law()
    assert all(map(str.isprintable, lines))
    read = sum(outcomes.values())
    figure(f"augmentation files with wrong values: {read} read, {outcomes['refused']} refused in a line, no bug")


def test_wrong_values_in_a_file_of_transforms_are_refused_in_a_line(tmp_path, figure):
    campaign(100, tmp_path, figure)


@pytest.mark.faults
def test_two_thousand_files_of_wrong_values_are_refused_in_a_line(tmp_path, figure):
    campaign(2000, tmp_path, figure)


@pytest.mark.parametrize(
    "transform",
    [
        {"__class_fullname__": "RandomGridShuffle", "grid": [1e5, 1e5]},
        {"__class_fullname__": "Superpixels", "n_segments": 1000000000},
        {"__class_fullname__": "Superpixels", "n_segments": "1000000000"},
        {"__class_fullname__": "Blur", "blur_limit": float("inf")},
        {"__class_fullname__": "Blur", "blur_limit": float("nan")},
        {"__class_fullname__": "Resize", "height": 10**400, "width": 1},
        {"__class_fullname__": "Affine", "scale": {"x": [1, -5000]}},
    ],
)
def test_numbers_that_no_photo_needs_are_refused_before_anything_is_made(transform, tmp_path):
    with pytest.raises(UsageError, match="out of range; allowed: -4096 to 4096"):
        augment_file.read(written(tmp_path / "file.json", transform) and tmp_path / "file.json")


def test_containers_nest_no_deeper_than_anybody_needs(tmp_path):
    transform = {"__class_fullname__": "NoOp"}
    for _ in range(300):
        transform = {"__class_fullname__": "OneOf", "transforms": [transform]}
    with pytest.raises(UsageError, match="nests more than 16"):
        augment_trial.check(written(tmp_path / "file.json", transform))


@pytest.mark.skipif(os.name == "nt", reason="times of POSIX")
def test_transforms_that_take_too_long_are_ended_and_refused(tmp_path):
    slow = {"__class_fullname__": "RandomGridShuffle", "grid": [3000, 3000], "p": 0.001}
    with pytest.raises(UsageError, match="over 1 seconds for one image"):
        augment_trial.check(written(tmp_path / "file.json", slow), seconds=1)


def test_presets_and_files_of_small_numbers_are_not_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(augment_trial.children, "command", None)
    usual = [
        {"__class_fullname__": "HorizontalFlip"},
        {"__class_fullname__": "Resize", "height": 512, "width": 512},
        {"__class_fullname__": "GaussianBlur", "blur_limit": [3, 7], "p": 0.1},
        {"__class_fullname__": "SomeOf", "n": 2, "transforms": [{"__class_fullname__": "NoOp"}] * 3},
    ]
    augment_trial.check(written(tmp_path / "file.json", *usual))
    augment_trial.check("strong")
    for unusual in (
        {"blur_limit": [3, 77]},
        {"blur_limit": "77"},
        {"transforms": [{"__class_fullname__": "NoOp"}], "n": 99},
    ):
        with pytest.raises(TypeError):
            augment_trial.check(written(tmp_path / "file.json", {"__class_fullname__": "SomeOf"} | unusual))


@pytest.mark.faults
@pytest.mark.parametrize(
    "arguments",
    [
        {"__class_fullname__": "ThinPlateSpline", "num_control_points": 4096},
        {"__class_fullname__": "Morphological", "scale": [4096, 4096]},
        {"__class_fullname__": "Superpixels", "n_segments": [4096, 4096]},
        {"__class_fullname__": "GlassBlur", "max_delta": 4096},
    ],
)
def test_each_slow_transform_at_the_largest_number_is_refused(arguments, tmp_path):
    with pytest.raises(UsageError, match="for one image"):
        augment_trial.check(written(tmp_path / "file.json", arguments), seconds=3)


@pytest.mark.faults
def test_usual_transforms_pass_the_trial(tmp_path):
    usual = [
        {"__class_fullname__": name, "p": 0.5} for name in ("HorizontalFlip", "ColorJitter", "GaussianBlur", "Affine")
    ]
    augment_trial.check(written(tmp_path / "file.json", *usual))
