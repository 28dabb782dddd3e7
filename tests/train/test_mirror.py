"""Mirror images are seen only where the augmentation mirrors."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

import transferkit as tk
from tests.conftest import write_digits
from transferkit import augment_file
from transferkit.config import FinetuneConfig
from transferkit.train import head
from transferkit.zoo.errors import UsageError

TINY = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "precision": "fp32", "l2": 0.01}


def written(path, *names, p=1.0):
    inner = [{"__class_fullname__": name, "p": p} for name in names]
    path.write_text(json.dumps({"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": inner}}))
    return str(path)


@pytest.fixture
def fitted(monkeypatch):
    """The features of each probe that is solved for."""
    seen, fit = [], head.fit_probe

    def fit_probe(problem, **given):
        seen.append(problem.features)
        return fit(problem, **given)

    monkeypatch.setattr(head, "fit_probe", fit_probe)
    return seen


@pytest.fixture(scope="module")
def arrows(tmp_path_factory):
    """Arrows to the left and to the right, 40 of each to train on and as many to test; no other thing differs."""
    folder, random = tmp_path_factory.mktemp("arrows"), np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("left", "right"):
            (folder / part / label).mkdir(parents=True)
            for number in range(40):
                back, front = random.integers(0, 110, 3), random.integers(145, 256, 3)
                image = Image.new("RGB", (32, 32), tuple(map(int, back)))
                x, y = (int(v) for v in random.integers(-3, 4, 2) + 16)
                draw = ImageDraw.Draw(image)
                draw.line((x - 11, y, x + 4, y), fill=tuple(map(int, front)), width=4)
                draw.polygon([(x + 2, y - 8), (x + 12, y), (x + 2, y + 8)], fill=tuple(map(int, front)))
                turned = image if label == "right" else image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                turned.save(folder / part / label / f"{number:02d}.png")
    return folder


@pytest.mark.slow  # that it sees no mirror images: [probe-none-1] below
def test_a_probe_tells_left_from_right_with_no_augmentation(arrows, tmp_path):
    run = tk.finetune(arrows, out=tmp_path / "run", backbone="cifar_resnet", strategy="probe", augment="none")
    assert run.metrics["test"]["accuracy"] >= 0.867
    assert json.loads((run.folder / "run.json").read_text())["config"]["views"] == 1


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("mirror") / "digits", classes=(0, 1), per_class=6)


@pytest.mark.parametrize(
    ("strategy", "augment", "views"),
    [
        ("probe", "none", 1),
        ("probe", "light", 2),
        ("probe", "flips", 2),
        ("probe", "turns", 1),
        pytest.param("auto", "none", 1, marks=pytest.mark.slow),  # which begins as lp-ft does
        ("lp-ft", "turns", 1),
    ],
)
def test_the_first_pass_mirrors_where_the_augmentation_does(strategy, augment, views, digits, tmp_path, fitted):
    file = {"flips": ("NoOp", "HorizontalFlip"), "turns": ("RandomRotate90", "VerticalFlip")}.get(augment)
    augment = written(tmp_path / "file.json", *file) if file else augment
    epochs = {} if strategy == "probe" else {"epochs": 1}
    tk.finetune(digits, out=tmp_path / "run", strategy=strategy, augment=augment, **TINY, **epochs)
    assert len(fitted[0].views) == views


def test_views_beyond_those_that_mirror_are_augmented(digits, tmp_path, fitted):
    turns = written(tmp_path / "turns.json", "Transpose")
    tk.finetune(digits, out=tmp_path / "run", strategy="probe", augment=turns, views=2, **TINY)
    plain, second = fitted[0].views
    assert not np.isnan(second).any()
    assert not np.allclose(plain, second)


def test_a_head_without_augmentation_has_one_view():
    FinetuneConfig(data=".", strategy="probe", augment="none", views=1)
    with pytest.raises(UsageError, match="--augment none gives one view"):
        FinetuneConfig(data=".", strategy="probe", augment="none", views=2)


def test_a_flip_that_never_happens_mirrors_nothing(tmp_path):
    assert not augment_file.mirrors(written(tmp_path / "never.json", "HorizontalFlip", p=0))
    assert augment_file.mirrors(written(tmp_path / "d4.json", "D4"))


def test_more_views_than_can_be_kept_are_refused_with_the_reason():
    with pytest.raises(UsageError, match=r"--views 1000 is out of range; allowed: 0 to 64; each view"):
        FinetuneConfig(data=".", views=1000)
