"""The picture of the learning rates: every run is labelled at its end, and no two labels touch."""

import math
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from transferkit.ship import lr_curves
from transferkit.train.lr_find import Trial, suggest

DRAWS = True  # curves, each time: tests/conftest.py


def descent(lr: float, *, steps: int = 60) -> Trial:
    """Descent on x ** 2 / 2 from 2, in closed form; it ends early where it overflows."""
    with np.errstate(over="ignore"):
        losses = 2 * (1 - lr) ** (2.0 * np.arange(steps))
    finite = np.isfinite(losses)
    return Trial(lr, tuple(losses if finite.all() else losses[: int(finite.argmin()) + 1]))


LADDER = [descent(lr) for lr in np.geomspace(1e-3, 10, 9)]
CROWDED = [descent(lr) for lr in np.linspace(0.5, 1.5, 9)]  # all end at zero
BLOWN_UP = [descent(0.5), *(Trial(lr, (2.0, 2.1, math.inf)) for lr in (3.0, 4.0, 5.0)), Trial(9.0, (2.0, math.nan))]


@pytest.mark.parametrize("trials", [LADDER, CROWDED, BLOWN_UP], ids=["ladder", "crowded", "blown up"])
def test_each_rate_has_one_label_with_its_word_inside_the_picture_and_clear_of_the_others(trials):
    picture = lr_curves.figure(suggest(trials))
    FigureCanvasAgg(picture).draw()
    (axes,) = picture.axes
    words = suggest(trials).words
    assert sorted(text.get_text().strip() for text in axes.texts) == sorted(
        f"{trial.lr:.2g} {word}" for trial, word in zip(trials, words)
    )
    boxes = [Text.get_window_extent(text) for text in (*axes.texts, *picture.texts)]  # without its line
    assert not [pair for pair in combinations(boxes, 2) if pair[0].padded(-2).overlaps(pair[1].padded(-2))]
    assert all(box.x0 >= 0 and box.x1 <= picture.bbox.x1 and box.y1 <= picture.bbox.y1 for box in boxes)


def test_runs_that_leave_through_the_top_are_marked_where_they_cross_it():
    (axes,) = lr_curves.figure(suggest(BLOWN_UP)).axes
    top = axes.get_ylim()[1]
    marks = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "^"]
    assert len(marks) == 4
    for (x, y), last_inside in zip(sorted(marks, key=lambda mark: mark[0]), (0, 1, 1, 1)):
        assert y == top
        assert last_inside < x < last_inside + 1


def test_the_raw_losses_are_drawn_as_they_are_behind_the_smoothed_ones():
    (axes,) = lr_curves.figure(suggest(LADDER)).axes
    faint = [line for line in axes.lines if line.get_alpha()]
    assert [tuple(line.get_ydata()) for line in faint] == [trial.losses for trial in LADDER]


def test_the_four_words_differ_by_dash_as_well_as_by_colour():
    assert len({style["linestyle"] for style in lr_curves.STYLES.values()}) == 4
    assert len({style["color"] for style in lr_curves.STYLES.values()}) == 4


def test_the_file_is_a_png_for_print_and_the_same_runs_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        lr_curves.draw(suggest(LADDER), tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert 4 * image.width == 1600  # as tests/conftest.py makes it smaller
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
