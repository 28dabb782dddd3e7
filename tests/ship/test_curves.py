"""The curves of a run: they show the numbers of metrics.jsonl, and mark what was best, restarted and kept."""

import json
import math
import os
import subprocess
import sys
from itertools import combinations, product

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from transferkit.ship import curves

DRAWS = True  # curves, each time: tests/conftest.py


def epochs(count: int, *, cycles: int = 1, points: int | None = 8, phase: str = "finetune") -> list[dict]:
    """The lines of `count` epochs under `cycles` cosines, each of whose ends is a snapshot where there are several."""
    length = count // cycles
    lines = []
    for epoch in range(count):
        steps = np.arange(1, (points or 1) + 1) / (points or 1)
        rates = (0.0005 * (1 + np.cos(math.pi * (epoch % length + steps) / length))).tolist()
        train = {"loss": 2 / (epoch + 1), "accuracy": 1 - 0.8 / (epoch + 1)}
        val = {"loss": 0.5 + 1 / (epoch + 1) + 0.02 * epoch, "accuracy": 0.9 - 0.4 / (epoch + 1)}
        line = {"epoch": epoch, "phase": phase, "lr": rates[-1], "train": train, "val": val, "seconds": 1.0}
        line |= {"lrs": rates} if points else {}
        lines.append(line | ({"snapshot": epoch // length + 1} if cycles > 1 and (epoch + 1) % length == 0 else {}))
    return lines


def probe() -> list[dict]:
    """The lines of a probe whose validation loss is least at L2 0.1."""
    scores = {1.0: 0.6, 0.1: 0.4, 0.01: 0.5}
    return [
        {"epoch": i, "phase": "probe", "lr": None, "l2": l2, "train": half(loss), "val": half(loss), "seconds": 0.1}
        for i, (l2, loss) in enumerate(scores.items())
    ]


def half(loss: float) -> dict:
    return {"loss": loss, "accuracy": 1 - loss / 2}


def draw_one(lines, *, chosen=None):
    (figure,) = curves.draw(lines, chosen=chosen).values()
    return figure


def labelled(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def legend_of(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("phase", ["finetune", "head"])
def test_loss_and_accuracy_of_both_parts_stand_over_the_epoch_and_the_rate_below(phase):
    lines = epochs(12, phase=phase)
    figure = draw_one(lines)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy", "learning rate"]
    for axes, measure in zip(figure.axes, ("loss", "accuracy")):
        for label, part in (("training", "train"), ("validation", "val")):
            x, y = labelled(axes, label).get_data()
            assert list(x) == list(range(1, 13))
            assert list(y) == [line[part][measure] for line in lines]


def test_the_rate_is_drawn_within_the_epoch_where_it_is_known_and_else_at_its_end():
    x, y = draw_one(epochs(3)).axes[2].lines[0].get_data()
    assert np.allclose(x, np.arange(1, 25) / 8)
    assert np.allclose(y, 0.0005 * (1 + np.cos(math.pi * x / 3)))
    x, y = draw_one(epochs(3, points=None)).axes[2].lines[0].get_data()
    assert list(x) == [1, 2, 3]
    assert np.allclose(y, 0.0005 * (1 + np.cos(math.pi * x / 3)))


def test_training_and_validation_differ_by_dash_and_by_marker_not_by_colour_alone():
    axes = draw_one(epochs(3)).axes[0]
    train, val = labelled(axes, "training"), labelled(axes, "validation")
    assert train.get_linestyle() != val.get_linestyle()
    assert train.get_marker() != val.get_marker()


def test_the_best_epoch_is_that_of_the_lowest_loss_then_the_highest_accuracy_then_the_first():
    lines = epochs(5)
    for line, loss, accuracy in zip(lines, (0.9, 0.4, 0.4, 0.4, 0.5), (0.99, 0.8, 0.9, 0.9, 0.7)):
        line["val"] = {"loss": loss, "accuracy": accuracy}
    figure = draw_one(lines)
    assert "best epoch: 3" in legend_of(figure)
    for axes, y in zip(figure.axes, (0.4, 0.9)):
        assert labelled(axes, "best epoch: 3").get_xydata().tolist() == [[3, y]]


def test_where_losses_are_calibrated_these_are_drawn_and_decide():
    lines = epochs(4)
    for line, loss in zip(lines, (0.5, 0.4, 0.3, 0.35)):
        line["val"] |= {"loss": 0.5 + line["epoch"], "calibrated_loss": loss}
    figure = draw_one(lines)
    assert list(labelled(figure.axes[0], "validation, calibrated").get_ydata()) == [0.5, 0.4, 0.3, 0.35]
    assert list(labelled(figure.axes[0], "validation").get_ydata()) == [0.5, 1.5, 2.5, 3.5]
    assert labelled(figure.axes[0], "best epoch: 3").get_xydata().tolist() == [[3, 0.3]]
    assert legend_of(figure) == ["training", "validation", "validation, calibrated", "best epoch: 3"]
    lines[-1]["best"] = 3  # the run has kept its end
    assert labelled(draw_one(lines).axes[0], "kept epoch: 4").get_xydata().tolist() == [[4, 0.35]]


def test_a_cyclic_run_shows_every_snapshot_on_the_validation_curve_and_a_restart_after_all_but_the_last():
    lines = epochs(20, cycles=5)
    figure = draw_one(lines, chosen="ensemble")
    ends = [4, 8, 12, 16, 20]
    for axes, measure in zip(figure.axes, ("loss", "accuracy")):
        numbers = {text.get_text(): text.xy for text in axes.texts}
        assert numbers == {str(n): (end, lines[end - 1]["val"][measure]) for n, end in enumerate(ends, start=1)}
    for axes in figure.axes:
        upright = [
            line.get_xdata() for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2
        ]
        assert [x[0] for x in upright] == ends[:-1]
    assert legend_of(figure) == ["training", "validation", "restart", "snapshot kept"]


@pytest.mark.parametrize(
    ("chosen", "black"), [("ensemble", {1, 2, 3, 4, 5}), ("single", {5}), ("probe", set()), (None, set())]
)
def test_snapshots_that_were_kept_are_black_and_the_others_white(chosen, black):
    figure = draw_one(epochs(20, cycles=5), chosen=chosen)
    for axes in figure.axes[:2]:
        discs = {
            line.get_xdata()[0] // 4: line.get_markerfacecolor() for line in axes.lines if line.get_markersize() == 13
        }
        assert {number for number, colour in discs.items() if colour != "white"} == black
        assert len(discs) == 5
    assert len(set(legend_of(figure))) == len(legend_of(figure))


def test_a_run_without_cycles_speaks_of_no_restart_and_no_snapshot():
    assert legend_of(draw_one(epochs(4))) == ["training", "validation", "best epoch: 4"]


def test_of_many_snapshots_at_most_twelve_are_numbered_the_last_among_them():
    axes = draw_one(epochs(80, cycles=40)).axes[0]
    numbers = [int(text.get_text()) for text in axes.texts]
    assert max(numbers) == 40
    assert len(numbers) <= 12


@pytest.mark.parametrize("lines", [epochs(1), epochs(200), epochs(80, cycles=40), probe()], ids=len)
def test_legend_and_panels_lie_within_the_picture_and_do_not_overlap(lines):
    figure = draw_one(lines)
    FigureCanvasAgg(figure).draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes] + [figure.legends[0].get_window_extent()]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].padded(-1).overlaps(pair[1].padded(-1))]
    assert all(figure.bbox.padded(1).containsx(x) for box in boxes for x in (box.x0, box.x1))


def test_a_probe_is_drawn_over_its_l2_with_the_best_marked():
    figure = draw_one(probe())
    assert figure.axes[1].get_xlabel() == "L2 of the probe"
    assert "best L2: 0.1" in legend_of(figure)
    x, y = labelled(figure.axes[0], "validation").get_data()
    assert dict(zip(x, y)) == {1.0: 0.6, 0.1: 0.4, 0.01: 0.5}


def test_the_probe_of_each_network_side_by_side_is_a_figure_of_its_own():
    lines = [line | {"network": name} for name, line in product(("one", "other"), probe())]
    lines[-1]["val"] = half(0.1)
    figures = curves.draw([*lines, *epochs(2)], chosen=None)
    *probes, last = figures
    assert probes == [f"Loss and accuracy over the L2 of the probe of {name}" for name in ("one", "other")]
    assert "epochs" in last
    assert ["best L2: 0.1" in legend_of(figures[name]) for name in probes] == [True, False]
    assert "best L2: 0.01" in legend_of(figures[probes[1]])


@pytest.mark.parametrize(
    ("count", "labels"), [(1, ["1"]), (2, ["0.1", "1"]), (3, ["0.01", "0.1", "1"]), (5, ["0.0001", "0.01", "1"])]
)
def test_values_of_l2_are_told_as_the_legend_tells_them_and_few_of_them_all(count, labels):
    lines = [probe()[0] | {"l2": 10.0**-k} for k in range(count)]
    figure = draw_one(lines)
    FigureCanvasAgg(figure).draw()
    told = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert set(labels) <= set(told)
    assert not any("$" in label for label in told)


def test_of_a_value_tried_on_a_sample_and_on_all_images_the_latter_is_drawn():
    again = [{**line, "val": half(0.05)} for line in probe() if line["l2"] == 0.1]
    x, y = labelled(draw_one(probe() + again).axes[0], "validation").get_data()
    assert list(zip(x, y)) == [(0.01, 0.5), (0.1, 0.05), (1.0, 0.6)]


def test_the_file_shows_the_epochs_where_there_are_any_else_the_probe_and_is_not_written_of_neither(tmp_path):
    pictures = []
    for lines in (epochs(3), probe() + epochs(3), probe()):
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        curves.write(tmp_path, curves.draw(curves.read(tmp_path), chosen=None))
        with Image.open(tmp_path / "curves.png") as image:
            assert 4 * image.width == 1600  # as tests/conftest.py makes it smaller
        pictures.append((tmp_path / "curves.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
    (tmp_path / "empty").mkdir()
    curves.write(tmp_path / "empty", curves.draw(curves.read(tmp_path / "empty"), chosen=None))
    assert not list((tmp_path / "empty").iterdir())


def test_no_display_and_no_window_toolkit_are_needed(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(epochs(1)[0]) + "\n")
    code = (
        "import sys; from pathlib import Path; from transferkit.ship import curves\n"
        "run = Path(sys.argv[1]); curves.write(run, curves.draw(curves.read(run), chosen=None))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"} | {"MPLBACKEND": "TkAgg"}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
