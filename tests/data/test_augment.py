"""A view is a function of its seed, and only known transforms are read from a file."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from transferkit import augment_file, presets
from transferkit.augment_file import TRANSFORMS
from transferkit.config import FinetuneConfig
from transferkit.data import augment, augment_trial
from transferkit.data.decode import eval_view
from transferkit.progress import Progress
from transferkit.zoo.card import Preprocessing
from transferkit.zoo.errors import UsageError

PREPROCESSING = Preprocessing(size_px=(32, 40))
y, x = np.mgrid[:60, :80]
PHOTO = Image.fromarray(np.stack([x * 3, y * 4, (x * y) % 256], -1).astype(np.uint8))
RANDOM = [preset.name for preset in presets.PRESETS if preset.steps]
ARGUMENTS = {  # of those that have no defaults
    "CenterCrop": {"height": 20, "width": 20},
    "Crop": {"x_max": 30, "y_max": 30},
    "CropAndPad": {"px": 4},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 5},
    "LongestMaxSize": {"max_size": 40},
    "RandomCrop": {"height": 20, "width": 20},
    "RandomResizedCrop": {"size": [20, 20]},
    "RandomSizedCrop": {"min_max_height": [10, 20], "size": [20, 20]},
    "Resize": {"height": 30, "width": 20},
    "SmallestMaxSize": {"max_size": 40},
    "XYMasking": {"num_masks_x": 1, "num_masks_y": 1, "mask_x_length": 5, "mask_y_length": 5},
}


@pytest.fixture(params=["albumentations", "torchvision"])
def engine(request):
    """What makes the views; torchvision, as the other cannot be imported."""
    if request.param == "torchvision":
        request.getfixturevalue("without_albumentations")
    return request.param


def transform(name: str, **arguments) -> dict:
    return {"__class_fullname__": name, "p": 1.0, **arguments}


def written(path, *transforms: dict, container: str = "Compose"):
    outer = {"transform": {"__class_fullname__": container, "p": 1.0, "transforms": list(transforms)}}
    path.write_text(json.dumps(outer) if path.suffix == ".json" else yaml.safe_dump(outer))
    return path


@pytest.mark.parametrize("name", RANDOM)
def test_a_view_is_a_function_of_its_seed(name, engine):
    view = augment.load(name, PREPROCESSING)
    again = augment.load(name, PREPROCESSING)
    views = [view(PHOTO, seed=seed) for seed in range(8)]
    for seed in reversed(range(8)):
        assert views[seed].shape == (32, 40, 3)
        assert views[seed].dtype == np.uint8
        assert np.array_equal(again(PHOTO, seed=seed), views[seed])
    assert len({v.tobytes() for v in views}) == 8
    assert view.engine == engine


def test_no_augmentation_is_the_evaluation_view():
    view = augment.load("none", PREPROCESSING)
    assert np.array_equal(view(PHOTO, seed=3), eval_view(PHOTO, PREPROCESSING))


def test_threads_give_the_views_that_one_thread_gives(engine):
    view = augment.load("strong", PREPROCESSING)
    alone = [view(PHOTO, seed=seed) for seed in range(60)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: view(PHOTO, seed=seed), range(60)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together))


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_each_allowed_transform_follows_the_seed_and_gives_rgb(tmp_path, name):
    inner = [transform(name, **ARGUMENTS.get(name, {})), transform("NoOp")]
    nested = {"__class_fullname__": "OneOf", "p": 1.0, "transforms": inner}
    view = augment.load(written(tmp_path / "a.json", nested), PREPROCESSING)
    first = [view(PHOTO, seed=seed) for seed in (0, 1, 2)]
    assert all(v.shape == (32, 40, 3) for v in first)
    assert all(np.array_equal(view(PHOTO, seed=seed), first[seed]) for seed in (2, 0, 1))
    pixels = np.array(PHOTO)  # as the store gives it, not to be written
    pixels.flags.writeable = False
    assert all(np.array_equal(view(pixels, seed=seed), first[seed]) for seed in (0, 1, 2))


@pytest.mark.parametrize("container", ["OneOf", "RandomOrder", "Sequential", "SomeOf", "OneOrOther"])
def test_containers_follow_the_seed(tmp_path, container):
    inner = [transform("HorizontalFlip"), transform("VerticalFlip")]
    nested = {"__class_fullname__": container, "p": 0.8, "transforms": inner}
    if container in ("RandomOrder", "SomeOf"):
        nested["n"] = 1
    view = augment.load(written(tmp_path / "a.json", nested), PREPROCESSING)
    views = [view(PHOTO, seed=seed).tobytes() for seed in range(30)]
    assert views == [view(PHOTO, seed=seed).tobytes() for seed in range(30)]
    assert len(set(views)) > 1


def test_the_coins_of_two_transforms_fall_independently(tmp_path):
    flips = [{"__class_fullname__": name, "p": 0.5} for name in ("HorizontalFlip", "VerticalFlip")]
    view = augment.load(written(tmp_path / "a.json", *flips), Preprocessing(size_px=(60, 80), crop_pct=1.0))
    pixels = np.asarray(PHOTO)
    outcomes = [pixels, pixels[:, ::-1], pixels[::-1], pixels[::-1, ::-1]]
    counts = np.zeros(4)
    for seed in range(400):
        got = view(PHOTO, seed=seed)
        counts += [np.array_equal(got, outcome) for outcome in outcomes]
    assert counts.sum() == 400
    assert ((counts - 100) ** 2 / 100).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


@pytest.mark.parametrize("name", RANDOM)
def test_a_fine_pattern_does_not_alias(name, engine):
    board = (np.indices((800, 800)).sum(0) % 2 * 255).astype(np.uint8)
    view = augment.load(name, Preprocessing(size_px=(64, 64)))
    spreads = [view(Image.fromarray(board).convert("RGB"), seed=seed).std() for seed in range(10)]
    assert min(spreads) < 12  # taking every n-th pixel gives over 100; a hole or a sharp edge gives some
    if name != "strong":
        assert max(spreads) < 12


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 200), (500, 20), (40, 32)])
def test_any_size_of_photo_gives_the_view_size(size, engine):
    for name in (*presets.names(), "none+tilt+hole+turn"):
        view = augment.load(name, PREPROCESSING)
        assert {view(Image.new("RGB", size, "red"), seed=seed).shape for seed in range(4)} == {(32, 40, 3)}
    tilt = augment.certain(presets.STEPS["tilt"], PREPROCESSING)
    assert (tilt(Image.new("RGB", size, "red"), seed=0) == (255, 0, 0)).all()


WHOLE = Preprocessing(size_px=(60, 80), crop_pct=1.0)  # the view of PHOTO is PHOTO


@pytest.mark.parametrize("step", [step for step in presets.STEPS.values() if step.p < 1], ids=lambda step: step.name)
def test_a_step_is_drawn_as_often_as_its_p_says(step, engine):
    view = augment.load(f"none+{step.name}", WHOLE)
    drawn = sum(not np.array_equal(view(PHOTO, seed=seed), PHOTO) for seed in range(200))
    assert abs(drawn - 200 * step.p) < 4 * (200 * step.p * (1 - step.p)) ** 0.5
    always = augment.certain(step, WHOLE)
    assert not any(np.array_equal(always(PHOTO, seed=seed), PHOTO) for seed in range(20))


@pytest.mark.parametrize("name", [*presets.STEPS, "default", "strong"])
def test_torchvision_draws_views_as_albumentations_does(name, request):
    def views() -> np.ndarray:
        step = presets.STEPS.get(name)
        view = augment.certain(step, WHOLE) if step else augment.load(name, WHOLE)
        return np.stack([view(PHOTO, seed=seed) for seed in range(300)]).astype(float)  # (300, H, W, 3)

    usual = views()
    request.getfixturevalue("without_albumentations")
    found = views()
    error = usual.std(0).mean() * (2 / 300) ** 0.5  # of the difference of two means
    assert np.abs(found.mean(0) - usual.mean(0)).mean() < 1 + 1.3 * error
    assert abs(found.std(0).mean() / max(usual.std(0).mean(), 1) - 1) < 0.06 or usual.std() == found.std()
    low, high = np.percentile(usual.mean((1, 2)), (2, 98), axis=0)
    assert np.allclose(np.percentile(found.mean((1, 2)), (2, 98), axis=0), (low, high), atol=8)


def test_views_by_torchvision_are_not_of_the_one_generator_of_torch(without_albumentations):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = augment.load("strong", PREPROCESSING)(PHOTO, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert np.array_equal(augment.load("strong", PREPROCESSING)(PHOTO, seed=5), first)


def test_torchvision_gets_photos_that_may_not_be_written_and_leaves_them(without_albumentations):
    pixels = np.array(PHOTO)
    pixels.flags.writeable = False
    for seed in range(6):
        augment.load("strong-crop", WHOLE)(pixels, seed=seed)
        augment.load("none+hole", WHOLE)(pixels, seed=seed)
    assert np.array_equal(pixels, PHOTO)


def test_a_tilt_reflects_at_the_border_and_a_hole_has_the_mean(without_albumentations):
    grey = Image.new("RGB", (80, 60), (90, 90, 90))
    tilt, hole = (augment.certain(presets.STEPS[name], WHOLE) for name in ("tilt", "hole"))
    assert all((tilt(grey, seed=seed) == 90).all() for seed in range(20))
    mean = [round(255 * value) for value in WHOLE.mean]
    for seed in range(20):
        pixels = hole(grey, seed=seed)
        rows, columns = np.nonzero((pixels == mean).all(-1))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width  # one rectangle
        assert (6 <= height <= 21, 8 <= width <= 28) == (True, True)
        assert ((pixels == 90).all(-1)).sum() == 60 * 80 - height * width


def test_a_file_without_albumentations_is_refused_with_what_to_install(tmp_path, without_albumentations):
    path = written(tmp_path / "a.json", transform("HorizontalFlip"))
    for read in (lambda: augment.load(path, PREPROCESSING), lambda: augment_trial.check(str(path))):
        with pytest.raises(UsageError, match=r"a\.json needs albumentations.*: pip install albumentations==2\.0\.8"):
            read()


def test_ranks_that_would_take_several_engines_are_refused(without_albumentations, monkeypatch):
    monkeypatch.setattr(augment.ranks, "from_first", lambda value: "albumentations")
    with pytest.raises(UsageError, match="views with torchvision, rank 0 with albumentations"):
        augment.tell_engine(augment.load("light", PREPROCESSING), Progress())


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_a_file_gives_what_albumentations_itself_gives(tmp_path, suffix):
    augment.load("light", PREPROCESSING)  # imports albumentations without its look-up of the latest version
    import albumentations

    pipeline = albumentations.Compose([albumentations.VerticalFlip(p=1), albumentations.Resize(32, 40, p=1)])
    path = tmp_path / f"own{suffix}"
    albumentations.save(pipeline, path, data_format="json" if suffix == ".json" else "yaml")
    view = augment.load(path, PREPROCESSING)
    assert np.array_equal(view(PHOTO, seed=0), pipeline(image=np.asarray(PHOTO))["image"])


def test_what_a_file_leaves_at_another_size_is_fitted_as_for_evaluation(tmp_path):
    view = augment.load(written(tmp_path / "a.yaml", transform("VerticalFlip")), PREPROCESSING)
    flipped = PHOTO.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    assert np.array_equal(view(PHOTO, seed=0), eval_view(flipped, PREPROCESSING))


@pytest.mark.parametrize("name", ["Lambda", "FDA", "TextImage", "ToFloat", "Normalize", "os.system", "NoSuchThing"])
def test_a_transform_that_is_not_allowed_is_named(tmp_path, name):
    nested = {"__class_fullname__": "OneOf", "p": 1.0, "transforms": [transform("NoOp"), transform(name)]}
    with pytest.raises(UsageError, match=f"'{name}'"):
        augment.load(written(tmp_path / "a.json", nested), PREPROCESSING)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2]",
        "{}",
        "transform: 3",
        "{",
        "a: &a [*a]",
        "!!python/object/apply:os.system ['true']",
        "transform: {transforms: 1}",
    ],
)
def test_a_file_that_describes_no_transform_is_a_usage_error(tmp_path, text):
    for suffix in (".json", ".yaml"):
        path = tmp_path / f"bad{suffix}"
        path.write_text(text)
        with pytest.raises(UsageError, match="bad") as caught:
            augment.load(path, PREPROCESSING)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"no_such_argument": 1}, {"p": 7}, {"p": "often"}])
def test_an_argument_that_albumentations_refuses_or_leaves_out_is_a_usage_error(tmp_path, arguments):
    path = written(tmp_path / "a.json", transform("RandomGamma") | arguments)
    with pytest.raises(UsageError, match="argument"):
        augment.load(path, PREPROCESSING)


def test_a_transform_that_fails_on_an_image_names_its_size(tmp_path):
    view = augment.load(written(tmp_path / "a.json", transform("RandomCrop", height=500, width=500)), PREPROCESSING)
    with pytest.raises(UsageError, match="80 x 60 px"):
        view(PHOTO, seed=0)


def test_an_unknown_name_lists_the_presets():
    with pytest.raises(UsageError, match="none, light, default, strong"):
        augment.load("heavy", PREPROCESSING)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("default-mirror", ["crop", "light"]),
        ("light-crop+turn", ["mirror", "turn"]),
        ("none+flip", ["flip"]),
        ("default+mirror", ["crop", "mirror", "light"]),
    ],
)
def test_steps_of_a_preset_are_left_out_and_added_by_name(name, steps, engine):
    assert [step.name for step in presets.find(name).steps] == steps
    assert augment.load(name, PREPROCESSING)(PHOTO, seed=0).shape == (32, 40, 3)


def test_a_preset_without_any_step_left_gives_the_view_of_evaluation():
    view = augment.load("light-crop-mirror", PREPROCESSING)(PHOTO, seed=0)
    assert np.array_equal(view, eval_view(PHOTO, PREPROCESSING))


def test_a_step_that_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"as in default-mirror\+turn \(crop, mirror, flip, turn, light"):
        augment.load("default-mirrors", PREPROCESSING)


@pytest.fixture
def flipped(monkeypatch):
    """One more line in the table: a preset that turns a photo upside down and mirrors nothing."""
    made = presets.Preset(
        name="flipped",
        help="a photo on its head",
        steps=(
            presets.Step(
                name="head",
                words="photos on their heads",
                transform=lambda albumentations, preprocessing: albumentations.VerticalFlip(),
                view=lambda functional, photo, rng, preprocessing: functional.vertical_flip(photo),
            ),
        ),
    )
    monkeypatch.setattr(presets, "PRESETS", (*presets.PRESETS, made))
    return made


def test_a_line_in_the_table_is_all_that_a_preset_needs(flipped, engine):
    view = augment.load(flipped.name, PREPROCESSING)(PHOTO, seed=0)
    assert np.array_equal(view, eval_view(PHOTO.transpose(Image.Transpose.FLIP_TOP_BOTTOM), PREPROCESSING))
    augment_trial.check(flipped.name)  # as of a preset: no process tries it
    assert not FinetuneConfig(data="photos", augment=flipped.name).mirrors
    assert not augment_file.mirrors(flipped.name)
    with pytest.raises(UsageError, match=f"use {', '.join(presets.names())} or the path"):
        augment.load("heavy", PREPROCESSING)


def test_the_help_of_finetune_tells_of_every_preset_in_the_table(flipped):
    told = " ".join(shown(flipped).split())
    assert "strong: " in told
    assert "flipped: a photo on its head." in told
    assert re.search("not with none, (.*, )?flipped, nor", told)


def shown(preset) -> str:
    """What `transferkit finetune --help` says in a new process whose table has this line too."""
    code = """
import sys
from transferkit import presets
line = presets.Preset(name=sys.argv[1], help=sys.argv[2], steps=())
presets.PRESETS = (*presets.PRESETS, line)
from transferkit.cli.main import run
run(["finetune", "--help"])
assert not {"torch", "albumentations", "cv2"} & sys.modules.keys()
"""
    command = [sys.executable, "-c", code, preset.name, preset.help]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_albumentations_asks_no_network():
    code = """
import os, sys, warnings
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        os._exit(3)  # an exception would be caught by who looks for news in passing
sys.addaudithook(refuse)
warnings.simplefilter("error", UserWarning)
from PIL import Image
from transferkit.data import augment
from transferkit.zoo.card import Preprocessing
augment.load("strong", Preprocessing())(Image.new("RGB", (300, 300)), seed=0)
assert "albumentations" in sys.modules
"""
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
