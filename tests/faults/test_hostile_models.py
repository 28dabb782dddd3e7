"""Model folders of unknown origin: whatever stands in them, one line of a TransferkitError, never a crash."""

import csv
import json
from pathlib import Path

import pytest
import timm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from transferkit.model.build import create
from transferkit.ship import artifact
from transferkit.zoo import catalog, hashes
from transferkit.zoo.errors import ModelFileError, TransferkitError

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
TIMM = {
    "architecture": "test_convnext",
    "num_classes": 2,
    "label_names": ["a", "b"],
    "model_args": {"drop_rate": 0.1},
    "pretrained_cfg": {
        "input_size": [3, 32, 32],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "classifier": "head.fc",
        "first_conv": "stem.0",
        "num_classes": 2,
    },
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    """A folder in timm's format."""
    folder = tmp_path_factory.mktemp("theirs")
    save_file(timm.create_model("test_convnext", num_classes=2).state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(TIMM))
    return folder


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """A folder that transferkit wrote."""
    backbone = create("timm:test_convnext", weights="none", num_classes=2, image_size=32)
    folder = tmp_path_factory.mktemp("ours") / "model"
    given = {"classes": ("a", "b"), "preprocessing": backbone.card.preprocessing, "record": {}}
    artifact.save(folder, artifact.Artifact(backbone=backbone, **given))
    return folder


def opened(folder: Path, config: object) -> int:
    """How many readers refuse a configuration, signed if the folder is ours; only errors for a user may come."""
    (folder / "config.json").write_text(json.dumps(config))
    if (folder / "MANIFEST.json").is_file():
        hashes.write(folder, ["config.json", "model.safetensors"])
    refused = []
    for read in (artifact.load, create, lambda path: catalog.describe(str(path))):
        try:
            read(folder)
        except TransferkitError as error:
            refused.append(error)
    for error in refused:
        if not 2 <= error.exit_code <= 5 or "\n" in str(error):
            raise error
    return len(refused)


def changed(config: dict, path: tuple[str, ...], value: object) -> dict:
    """A copy with another value at a path of keys."""
    key, *rest = path
    return config | {key: changed(config.get(key) or {}, tuple(rest), value) if rest else value}


HALF = "\udcf2"  # half a character, which JSON can hold and UTF-8 cannot
WRONG = [
    (("num_classes",), -1),
    (("num_classes",), 10**12),
    (("num_classes",), "2"),
    (("pretrained_cfg",), 5),
    (("label_names",), ["a"]),
    (("label_names",), 5),
    (("label_names",), [["a"], {}]),
    (("architecture",), 5),
    (("architecture",), None),
    (("architecture",), HALF),
    ((HALF,), 5),
    (("model_args",), {HALF: 5}),
    (("pretrained_cfg", HALF), 5),
    (("model_args",), []),
    (("model_args",), {"features_only": True}),
    (("model_args",), {"dims": ["a"]}),
    (("model_args",), {"depths": {}}),
    (("model_args",), {"global_pool": ""}),
    (("model_args",), {"num_classes": 7}),
    (("model_args",), {"in_chans": 1}),
    (("pretrained_cfg", "mean"), [float("nan")] * 3),
    (("pretrained_cfg", "mean"), 0.5),
    (("pretrained_cfg", "std"), [0, 0, 0]),
    (("pretrained_cfg", "input_size"), 32),
    (("pretrained_cfg", "input_size"), [32]),
    (("pretrained_cfg", "input_size"), [1, 32, 32]),
    (("pretrained_cfg", "input_size"), [3, 20000, 20000]),
    (("pretrained_cfg", "crop_pct"), "0.9"),
    (("pretrained_cfg", "crop_pct"), float("inf")),
    (("pretrained_cfg", "interpolation"), 5),
    (("pretrained_cfg", "classifier"), 5),
    (("pretrained_cfg", "first_conv"), {}),
    (("pretrained_cfg", "label_offset"), "x"),
    (("pretrained_cfg", "fixed_input_size"), "yes"),
    (("pretrained_cfg", "license"), 5),
    (("pretrained_cfg", "interpolation"), HALF),
]


@pytest.mark.parametrize(
    ("path", "value"), [(("num_classes",), None), (("pretrained_cfg", "classifier"), "no.such")], ids=str
)
def test_a_value_that_decides_nothing_is_left_alone(theirs, path, value):
    assert opened(theirs, changed(TIMM, path, value)) == 0


@pytest.mark.parametrize(("path", "value"), WRONG, ids=str)
def test_a_wrong_value_in_timms_format_is_no_crash(theirs, path, value):
    assert opened(theirs, changed(TIMM, path, value)) > 0


OURS = [
    (("spec",), 5),
    (("spec", "model_args"), 5),
    (("spec", "model_args"), {"depths": [10**9]}),
    (("spec", "model_args"), {"img_size": [20000, 20000]}),
    (("spec", "linear_head"), "yes"),
    (("spec", "architecture"), ["x"]),
    (("preprocessing",), None),
    (("preprocessing", "size_px"), 32),
    (("preprocessing", "size_px"), [32]),
    (("preprocessing", "size_px"), [20000, 20000]),
    (("preprocessing", "size_px"), [1, 1]),
    (("preprocessing", "mean"), [float("nan")] * 3),
    (("preprocessing", "mean"), ["a", "b", "c"]),
    (("preprocessing", "std"), [0.2]),
    (("classes",), 5),
    (("classes",), []),
    (("classes",), ["a", 5]),
    (("backbone",), 5),
    (("record",), 5),
    (("averages_mirror",), "yes"),
    (("ensemble",), 5),
    (("format_version",), None),
]


@pytest.mark.parametrize(("path", "value"), OURS, ids=str)
def test_a_wrong_value_in_a_folder_of_ours_is_refused(ours, path, value):
    original = (ours / "config.json").read_text()
    config = json.loads(original)
    try:
        opened(ours, changed(config, ("transferkit", *path), value))
        with pytest.raises(TransferkitError):
            artifact.load(ours)
    finally:
        (ours / "config.json").write_text(original)


def test_what_is_right_is_opened(theirs, ours):
    (theirs / "config.json").write_text(json.dumps(TIMM | {"unknown": {"key": 1}}))
    hashes.write(ours, ["config.json", "model.safetensors"])
    assert artifact.load(theirs).classes == create(ours).card.classes == ("a", "b")


TEXT = st.text(max_size=5) | st.just(HALF)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def paths(config: dict, start: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in config.items():
        found.append((*start, key))
        if isinstance(value, dict):
            found += paths(value, (*start, key))
    return found


def campaign(folder: Path, config: dict, *, examples: int) -> int:
    """Put values at random into a configuration; how many of them a reader refused."""
    refused = []

    few = {"derandomize": examples < 100}  # of few at random there may be none that is refused

    @settings(max_examples=examples, deadline=None, suppress_health_check=QUIET, database=None, **few)
    @given(st.lists(st.tuples(st.sampled_from(paths(config)), JSON), min_size=1, max_size=2))
    def check(changes):
        hostile = config
        for path, value in changes:
            try:
                hostile = changed(hostile, path, value)
            except (AttributeError, TypeError):  # an earlier change took the object away
                continue
        refused.append(opened(folder, hostile) > 0)

    check()
    return sum(refused)


@pytest.mark.parametrize("kind", ["theirs", pytest.param("ours", marks=pytest.mark.slow)])
def test_wrong_values_at_random_are_no_crash(kind, request):
    folder = request.getfixturevalue(kind)
    assert campaign(folder, json.loads((folder / "config.json").read_text()), examples=6) > 0


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["theirs", "ours"])
def test_a_thousand_wrong_values_are_no_crash(kind, request, figure):
    folder = request.getfixturevalue(kind)
    refused = campaign(folder, json.loads((folder / "config.json").read_text()), examples=1000)
    assert refused > 300
    figure(f"wrong values in config.json, {kind}: {refused} of 1,000 refused, none called a bug")


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "[" * 100_000, '{"a": 1e999', "\ufeff{}"])
def test_json_that_is_none_is_refused(theirs, text):
    (theirs / "config.json").write_text(text)
    with pytest.raises(ModelFileError):
        create(theirs)


def test_the_longest_label_that_a_csv_may_hold_is_saved_and_opened(tmp_path):
    backbone = create("cifar_resnet", num_classes=2)
    classes = ("a", "b" * csv.field_size_limit())
    artifact.save(
        tmp_path / "m",
        artifact.Artifact(backbone=backbone, classes=classes, preprocessing=backbone.card.preprocessing, record={}),
    )
    assert artifact.load(tmp_path / "m").classes == create(tmp_path / "m").card.classes == classes
