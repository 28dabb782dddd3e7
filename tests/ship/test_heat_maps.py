"""The heat maps of a run: made once, kept with it, drawn where they belong, and never the reason that a run fails."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import transferkit as tk
from tests.conftest import write_digits
from transferkit.data.decode import decode, eval_view, seen_box
from transferkit.model.build import Preprocessing
from transferkit.ship import artifact, heat_maps, overlays, replacement
from transferkit.ship.record import write_report
from transferkit.zoo.errors import ModelFileError


def finetune(data, out, **options):
    fast = {"strategy": "probe", "precision": "fp32", "augment": "none", "l2": 0.01}
    options = fast | {"backbone": "cifar_resnet"} | options
    return tk.finetune(data, out=str(out), **options).folder


def pictures(run) -> int:
    return (run / "report.html").read_text().count("data:image/jpeg")


@pytest.fixture(scope="module")
def run(digit_folder, tmp_path_factory):
    return finetune(digit_folder, tmp_path_factory.mktemp("maps") / "run")


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def test_every_photo_that_the_report_shows_has_its_map_beside_it(run):
    maps = json.loads((run / "heat_maps.json").read_text())["maps"]
    assert len(maps) >= 12  # the least certain answers
    assert pictures(run) == 2 * (run / "report.html").read_text().count("<figure title=")


def test_a_report_is_written_again_with_the_same_maps_and_no_network(copied):
    before = write_report(copied).read_bytes()
    shutil.rmtree(copied / "model")
    write_report(copied)
    assert (copied / "report.html").read_bytes() == before


def test_a_run_of_before_there_were_maps_gets_them_with_its_report(copied):
    before = (copied / "heat_maps.json").read_bytes()
    (copied / "heat_maps.json").unlink()
    write_report(copied)
    assert (copied / "heat_maps.json").read_bytes() == before


def test_all_that_a_run_writes_takes_the_place_of_an_older_run(run):
    assert {path.name for path in run.iterdir()} <= set(replacement.PARTS)


def test_maps_are_found_again_for_the_same_weights_and_photos_alone(copied, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(heat_maps, "_made", lambda *given, **more: made.append(given) or ([], ""))
    cache = tmp_path / "cache"
    for _ in range(2):
        heat_maps.write(copied, cache=cache)
    assert len(made) == 1
    manifest = (copied / "manifest.csv").read_text()
    (copied / "manifest.csv").write_text(re.sub("[0-9a-f]{64}", "0" * 64, manifest))
    heat_maps.write(copied, cache=cache)
    assert len(made) == 2
    hashes = copied / "model" / "MANIFEST.json"
    hashes.write_text(re.sub("[0-9a-f]{64}", "0" * 64, hashes.read_text()))
    heat_maps.write(copied, cache=cache)
    assert len(made) == 3


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        '{"maps": [{"path": "a"}]}',
        '{"maps": [{"path": "a", "about": "b", "box": [0, 0, 1, 1], "rows": ["zz"]}]}',
        '{"maps": [{"path": "a", "about": "b", "box": [0, 0, 1, 1], "rows": ["00", "0000"]}]}',
    ],
)
def test_a_damaged_file_of_maps_is_said_to_be_one(copied, damage):
    (copied / "heat_maps.json").write_text(damage)
    with pytest.raises(ModelFileError, match=r"heat_maps\.json"):
        write_report(copied)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_model_that_cannot_be_opened_costs_the_maps_and_nothing_else(copied, name):
    (copied / "model" / name).write_bytes(b"nothing")
    (copied / "heat_maps.json").unlink()
    write_report(copied)
    found = json.loads((copied / "heat_maps.json").read_text())
    assert found["maps"] == []
    assert name in found["fault"]
    assert "There are no heat maps: " in (copied / "report.html").read_text()
    assert pictures(copied) == (copied / "report.html").read_text().count("<figure title=")


def test_a_photo_that_is_gone_has_neither_picture_nor_map(digit_folder, copied):
    maps = json.loads((copied / "heat_maps.json").read_text())["maps"]
    gone = maps[0]["path"]
    scores = copied / "predictions.csv"
    scores.write_text(scores.read_text().replace(gone, gone + "gone"))
    (copied / "heat_maps.json").unlink()
    write_report(copied)
    left = json.loads((copied / "heat_maps.json").read_text())["maps"]
    assert gone not in {each["path"] for each in left}
    assert len(left) == len(maps) - sum(each["path"] == gone for each in maps)


@pytest.mark.slow
def test_a_network_without_places_has_a_report_too(tmp_path):
    data = write_digits(tmp_path / "data", classes=(0, 1), per_class=6)
    run = finetune(data, tmp_path / "mlp", backbone="cifar_mlp")
    assert json.loads((run / "heat_maps.json").read_text()) == {"maps": [], "fault": ""}


@pytest.mark.slow  # the maps of several networks are added: tests/model/test_heat_maps.py
def test_an_ensemble_has_maps_in_its_report(digit_folder, tmp_path):
    ensemble = finetune(digit_folder, tmp_path / "ensemble", snapshots=2, epochs=2)
    assert len(json.loads((ensemble / "heat_maps.json").read_text())["maps"]) >= 12


def test_images_with_several_labels_have_maps_of_the_label_that_is_in_doubt(digit_folder, tmp_path):
    rows = [(path, path.parent.name) for path in sorted(digit_folder.rglob("*.png"))]
    table = tmp_path / "labels.csv"
    table.write_text(
        "path,labels\n"
        + "".join(f"{path},{label}|round\n" if label == "digit 0" else f"{path},{label}\n" for path, label in rows)
    )
    found = finetune(table, tmp_path / "run")
    assert "The least certain answers" in (found / "report.html").read_text()
    assert {each["about"] for each in json.loads((found / "heat_maps.json").read_text())["maps"]} <= {
        "digit 0",
        "digit 1",
        "digit 4",
        "round",
    }


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 64), (1000, 8), (40, 50)])
@pytest.mark.parametrize(("mode", "share"), [("center", 0.875), ("center", 1.0), ("squash", 0.9), ("border", 1.0)])
def test_the_box_is_where_the_pixels_of_the_view_come_from(size, mode, share):
    """In a photo whose colours are its coordinates, the view's own colours say where it lies."""
    across, down = (np.linspace(0, 255, side + 1)[1:] - 255 / side / 2 for side in size)
    photo = np.stack([*np.meshgrid(across, down), np.zeros(size[::-1])], -1).round().astype(np.uint8)
    about = Preprocessing(
        size_px=(48, 64), crop_pct=share, crop_mode=mode, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1)
    )
    view = eval_view(Image.fromarray(photo), about).astype(float) / 255
    left, top, right, bottom = seen_box(size, about)
    x = left + (np.arange(64) + 0.5) / 64 * (right - left)
    y = top + (np.arange(48) + 0.5) / 48 * (bottom - top)
    inside_x, inside_y = (x > 0.05) & (x < 0.95), (y > 0.05) & (y < 0.95)
    middle = view[abs(y - 0.5).argmin(), :, 0], view[:, abs(x - 0.5).argmin(), 1]
    np.testing.assert_allclose(middle[0][inside_x], x[inside_x], atol=0.03)
    np.testing.assert_allclose(middle[1][inside_y], y[inside_y], atol=0.03)


def test_a_map_is_drawn_where_the_network_saw_it_and_the_rest_of_the_photo_is_dark():
    photo = Image.new("RGB", (100, 50), (200, 200, 200))
    entry = {"box": [0.25, 0.0, 0.75, 1.0], "rows": ["00ff", "0000"]}  # hot at the top right
    drawn = np.asarray(overlays.draw(photo, entry)).astype(int)
    assert drawn.shape == (50, 100, 3)
    assert drawn[:, :20].max() < 80  # outside of the box
    for box in (
        [-100.0, -100.0, 100.0, 100.0],
        [0.5, 0.5, 0.5, 0.5],
        [1.0, 1.0, 0.0, 0.0],
    ):  # as a damaged file may say
        assert overlays.draw(photo, entry | {"box": box}).size == photo.size
    assert drawn[5, 70, 0] > 200  # hot: bright, yellow
    assert drawn[5, 70, 2] < drawn[5, 70, 0] - 20
    assert np.ptp(drawn[45, 30]) < 10  # cold: grey
    assert drawn[45, 30, 0] > 120


def test_the_class_that_is_looked_for_is_found_on_its_side_of_a_photo(run, digit_folder):
    """From files to file: a picture of two digits, the right one of which the map of its class lies on."""
    network = heat_maps._Network.of(artifact.load(run / "model"), "cpu")
    zero, four = (np.asarray(decode(digit_folder / f"digit {digit}" / "003.png")) for digit in (0, 4))
    maps = network.maps(np.stack([np.concatenate([zero, four], 1)] * 2), ["digit 0", "digit 4"])
    left = maps[:, :, : maps.shape[2] // 2].sum((1, 2)) / maps.sum((1, 2))
    assert left[0] > 0.5 > left[1]
