import copy
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import transferkit as tk
from tests.conftest import write_digits
from transferkit.model import boundary, build
from transferkit.model.boundary import Activations
from transferkit.model.timings import Conditions
from transferkit.progress import Progress
from transferkit.train import loader, outputs


def frozen_network(name, stage, *, size=64):
    model = tk.zoo.create(name, weights="none", num_classes=3, image_size=size)
    model.holds_statistics = True
    tk.freeze(model, stage)
    return model


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("resnet18", "layer2"),
        ("timm:test_convnext", "stages.1"),
        ("timm:test_efficientnet", "blocks.1"),
        ("mobilenetv3_small_050", "blocks.2"),
        ("timm:test_vit", "blocks.2"),
        ("cifar_resnet", "stage2"),
    ],
)
def test_the_two_parts_of_a_network_are_the_network(name, stage):
    model = frozen_network(name, stage, size=160 if "test_" in name else 64).eval()
    found = boundary.find(model)
    x = torch.randn(5, 3, *model.card.preprocessing.size_px)
    values = tuple(torch.from_numpy(value) for value in found.handed(x, "fp32"))
    assert [tuple(value.shape[1:]) for value in values] == list(found.shapes)
    with torch.no_grad():
        logits = found.above(values if len(values) > 1 else values[0])
        assert torch.allclose(logits, model(x), atol=1e-4, rtol=1e-4)


@pytest.mark.slow  # as one tensor is: the first test
def test_a_part_above_that_takes_several_tensors_is_validated_as_the_whole_network_is():
    model = frozen_network("timm:coat_tiny", "parallel_blocks.4").eval()
    found, rows = boundary.find(model), np.arange(40)
    x = torch.randn(len(rows), 3, 64, 64, generator=torch.Generator().manual_seed(0))
    kept = Activations(found, len(rows), rows, views=1, folder=Path())

    def images(batches, epoch):
        return ((x[torch.from_numpy(batch)], batch) for batch in batches)

    above = loader.above(images, found, kept, precision="fp32", device="cpu")
    expected = outputs.logits_of(model, images, rows, num_classes=3)
    assert len(found.shapes) == 4
    assert np.allclose(outputs.logits_of(found.above, above, rows, num_classes=3), expected, atol=1e-4)


def test_a_network_without_frozen_stages_is_not_cut():
    assert boundary.find(tk.zoo.create("timm:test_resnet", weights="none")) is None


def test_a_convolution_folded_with_a_trainable_batchnorm_is_not_below_the_boundary():
    model = frozen_network("timm:test_resnet", "layer1")
    build.fold(model, torch.zeros(1, 3, 64, 64))
    assert boundary.find(model) is not None
    norms = [module for module in boundary.find(model).below.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    convolutions = [module for module in model.modules() if module.__dict__.get("folded_norm") in norms]
    stranger = torch.nn.BatchNorm2d(norms[0].num_features)
    convolutions[0].__dict__["folded_norm"] = stranger
    assert boundary.find(model) is None


def test_modes_above_the_boundary_are_those_of_the_whole_network():
    model = frozen_network("timm:test_resnet", "layer1")
    above = boundary.find(model).above
    whole = {id(module): module.training for module in model.train().modules()}
    above.eval()
    above.train()
    assert all(module.training == whole[id(module)] for module in above.modules() if id(module) in whole)
    twin = copy.deepcopy(above)
    above.eval()
    assert twin.suffix.model.layer3.training


def test_activations_are_the_same_in_memory_and_in_a_file(tmp_path, monkeypatch):
    found = boundary.find(frozen_network("timm:test_resnet", "layer1"))
    values, rows = found.handed(torch.randn(3, 3, 64, 64), "fp32"), np.array([4, 0, 2])
    in_memory = Activations(found, 5, np.arange(5), views=1, folder=tmp_path)
    monkeypatch.setattr(boundary, "MEMORY_BYTES", 0)
    in_file = Activations(found, 5, np.arange(5), views=1, folder=tmp_path)
    for kept in (in_memory, in_file):
        assert kept.missing(np.array([4, 1, 4]), 1).tolist() == [1, 4]
        kept.put(rows, 1, values)
        assert kept.missing(np.arange(5), 1).tolist() == [1, 3]
        assert kept.missing(np.arange(5), 0).tolist() == [0, 1, 2, 3, 4]
        assert np.array_equal(kept.get(np.array([2, 4]), 1, device="cpu").numpy(), values[0][[2, 0]])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_of_images_that_are_not_fitted_to_no_view_takes_room_or_is_given(memory, tmp_path, monkeypatch):
    monkeypatch.setattr(boundary, "MEMORY_BYTES", memory)
    found = boundary.find(frozen_network("timm:test_resnet", "layer1"))
    monkeypatch.setattr(boundary, "FILE_BYTES", (10 + 2 * 3) * found.bytes_of(1, fitted=0, views=0))
    values, fitted = found.handed(torch.randn(3, 3, 64, 64), "fp32"), np.array([9, 7, 4])
    kept = Activations(found, 10, fitted, views=2, folder=tmp_path)
    assert kept.missing(np.array([4, 9, 7]), 2).tolist() == [4, 7, 9]
    kept.put(np.array([4, 9, 7]), 2, values)
    assert kept.missing(fitted, 2).tolist() == []
    assert np.array_equal(kept.get(fitted, 2, device="cpu").numpy(), values[0][[1, 2, 0]])
    one = tuple(value[:1] for value in values)
    kept.put(np.array([3]), 0, one)
    assert np.array_equal(kept.get(np.array([3]), 0, device="cpu").numpy(), one[0])
    for asked in (kept.missing, partial(kept.get, device="cpu"), partial(kept.put, values=one)):
        with pytest.raises(IndexError):
            asked(np.array([3]), 2)


def test_no_room_is_an_error_before_anything_is_computed(tmp_path, monkeypatch):
    found = boundary.find(frozen_network("timm:test_resnet", "layer1"))
    (tmp_path / "file").touch()
    Activations(found, 100, np.arange(100), views=1, folder=tmp_path / "file")  # in memory no folder is needed
    monkeypatch.setattr(boundary, "MEMORY_BYTES", 1000)
    with pytest.raises(OSError):
        Activations(found, 100, np.arange(100), views=1, folder=tmp_path / "file")
    monkeypatch.setattr(boundary, "FILE_BYTES", 1000)
    with pytest.raises(OSError, match="too many to keep"):
        Activations(found, 100, np.arange(100), views=1, folder=tmp_path)


class Heard(Progress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def test_where_activations_cannot_be_kept_the_run_says_so_and_goes_on(data, tmp_path, monkeypatch):
    monkeypatch.setattr(boundary, "MEMORY_BYTES", 1000)
    monkeypatch.setattr(boundary, "FILE_BYTES", 1000)
    heard = Heard()
    trained(data, tmp_path / "run", views=2, progress=heard)
    assert sum("frozen stages run in every epoch" in line for line in heard.lines) == 1


def test_a_run_takes_room_for_the_images_that_it_trains_and_validates_on(tmp_path, monkeypatch):
    for part, per_class in (("train", 8), ("test", 4)):
        write_digits(tmp_path / "digits" / part, classes=(0, 1), per_class=per_class)
    begin, counts = Activations.__init__, []

    def counted(self, found, images, fitted, **about):
        counts.extend((images, len(fitted)))
        begin(self, found, images, fitted, **about)

    monkeypatch.setattr(Activations, "__init__", counted)
    run, _ = trained(tmp_path / "digits", tmp_path / "run", views=2)
    assert (run.metrics["test"]["n"], counts) == (8, [24, 16])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("boundary") / "digits", classes=(0, 1, 4), per_class=8)


SMALL = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "augment": "light", "epochs": 2}
SMALL |= {"precision": "fp32"}  # else timed


def trained(data, out, **options):
    options = SMALL | {"strategy": "finetune", "freeze": "layer2", "optimizer": "sgd"} | options
    run = tk.finetune(data, out=out, **options)
    return run, load_file(run.folder / "model" / "model.safetensors")


def test_cached_activations_give_the_model_that_fresh_ones_give(data, tmp_path, monkeypatch):
    run, cached = trained(data, tmp_path / "cached", views=2)
    monkeypatch.setattr(boundary, "MEMORY_BYTES", 0)
    monkeypatch.setattr(boundary, "FILE_BYTES", 0)
    again, fresh = trained(data, tmp_path / "fresh", views=2)
    assert cached.keys() == fresh.keys()
    assert all(torch.allclose(cached[name], fresh[name], atol=1e-5) for name in fresh)
    assert run.metrics["val"]["loss"] == pytest.approx(again.metrics["val"]["loss"], rel=1e-4)


def test_what_is_frozen_runs_once_for_each_view(data, tmp_path, monkeypatch):
    batches = []
    handed = boundary.Boundary.handed

    def counted(self, x, precision):
        batches.append(len(x))
        return handed(self, x, precision)

    monkeypatch.setattr(boundary.Boundary, "handed", counted)
    trained(data, tmp_path / "run", views=2, epochs=3)
    images, judging = 24, 6  # a fifth, of each class
    # 2 views of what trains, and what validates as it is; then that in a view for each epoch of the fit to all, or in
    # 2; then what trains as it is, to know what is familiar
    assert sum(batches) - 2 * (images - judging) - judging - (images - judging) in (judging, 2 * judging)


@pytest.mark.parametrize(("saving", "views"), [(1.5, 4), pytest.param(1.1, 0, marks=pytest.mark.slow)])
def test_views_are_repeated_where_that_saves_much_and_the_run_records_it(saving, views, data, tmp_path, monkeypatch):
    monkeypatch.setattr(boundary, "saving", lambda *args, **kwargs: saving)
    run, _ = trained(data, tmp_path / "run")
    assert json.loads((run.folder / "run.json").read_text())["config"]["views"] == views


def test_the_saving_is_that_of_the_times_measured(tmp_path, monkeypatch):
    model = frozen_network("timm:test_resnet", "layer1")
    found, where = boundary.find(model), Conditions(device="cpu", precision="fp32", cache=tmp_path)
    first = boundary.saving(model, found, epochs=10, views=4, where=where)
    (file,) = (tmp_path / "timings").iterdir()
    held = json.loads(file.read_text())
    below, above = held["found"]["below"], held["found"]["above"]
    assert first == pytest.approx(10 * (below + above) / (4 * below + 10 * above))
    assert boundary.saving(model, found, epochs=10, views=4, where=where) == first
    assert boundary.saving(model, found, epochs=10, views=10, where=where) == pytest.approx(1)


def test_each_part_is_timed_twice_and_the_faster_time_counts(tmp_path, monkeypatch):
    model, times = frozen_network("timm:test_resnet", "layer1"), [3.0, 2.0, 1.0, 4.0]  # below, above, below, above
    found, where = boundary.find(model), Conditions(device="cpu", precision="fp32", cache=tmp_path)
    monkeypatch.setattr(boundary.timings, "computing", lambda work, *, device: times.pop(0))
    assert boundary.saving(model, found, epochs=10, views=4, where=where) == 10 * (1 + 2) / (4 * 1 + 10 * 2)
    assert not times
