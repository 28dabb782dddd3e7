"""How views of images are repeated, and what training goes through then: tested on numbers in place of photos."""

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit as tk
from tests.train.test_told import Told
from transferkit.config import FinetuneConfig
from transferkit.data import augment
from transferkit.data.folder import PathTable
from transferkit.data.photos import Decoding, Photos
from transferkit.data.views import Views
from transferkit.model import boundary
from transferkit.model.features import Extractor, Features
from transferkit.train import loader, views
from transferkit.train.views import ActivationReuse
from transferkit.zoo.errors import DataError

COUNT = 40


def images(batches, epoch):
    """Pictures of one colour each, which tells row and view; as they are is view 9."""
    for rows in batches:
        shade = torch.from_numpy(rows).float() / COUNT + (9 if epoch is None else epoch)
        yield shade[:, None, None, None].expand(-1, 3, 32, 32), rows


def shades(made):
    return [(np.round((x[:, 0, 0, 0] - 9) * COUNT).tolist(), rows.tolist()) for x, rows in made]


@pytest.fixture
def reuse(tmp_path):
    """Of a network that is frozen up to a stage, or not at all; cut where it can be."""

    def reuse(stage="layer2", **about):
        model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=3, image_size=32)
        model.holds_statistics = True
        if stage:
            tk.freeze(model, stage)
        given = {"model": model, "boundary": boundary.find(model), "device": "cpu", "precision": "fp32"} | about
        return ActivationReuse(**given, cache=tmp_path, progress=Told())

    return reuse


@pytest.mark.parametrize(("saving", "expected"), [(1.19, 0), (1.2, 4), (2.46, 4)])
def test_views_are_repeated_where_that_is_a_fifth_faster_and_the_user_is_told_how_much(
    saving, expected, reuse, monkeypatch
):
    asked = []
    monkeypatch.setattr(boundary, "saving", lambda *given, **about: asked.append(about) or saving)
    found = reuse()
    assert found.choose_views(epochs=7) == expected
    assert (asked[0]["epochs"], asked[0]["views"]) == (7, 4)
    said = f"frozen stages run once for each of 4 views of an image: {saving:.1f} times as fast"
    assert found.progress.lines == ([said] if expected else [])


def test_a_network_that_is_not_cut_has_new_views_in_each_epoch(reuse):
    assert reuse("").choose_views(epochs=7) == 0


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, 5),  # one for each epoch
        ({"views": 2}, 2),
        ({"mixup": 0.2}, 0),
        ({"cutmix": 1.0}, 0),
        ({"epochs": 6}, 0),  # too many for the memory
    ],
)
def test_what_is_frozen_is_kept_of_each_epochs_view_where_it_is_small(options, kept, reuse, monkeypatch):
    found = reuse()
    monkeypatch.setattr(boundary, "MEMORY_BYTES", found.boundary.bytes_of(COUNT, fitted=30, views=5))
    config = FinetuneConfig(data="photos", **{"epochs": 5, "views": 0} | options)
    assert found.kept_views(config, images=COUNT, fitted=30) == kept
    for more in ({"images": COUNT + 1, "fitted": 30}, {"images": COUNT, "fitted": 31}):
        assert found.kept_views(config, **more) == (kept if config.views else 0)
    assert reuse(device="cuda").kept_views(config, images=COUNT, fitted=30) == (config.views or 0)
    assert reuse("").kept_views(config, images=COUNT, fitted=30) == (config.views or 0)


def test_the_memory_that_this_takes_is_that_of_each_image_as_it_is_and_in_each_view(reuse, monkeypatch):
    found = reuse()
    _, inputs = found.trained_part(images, views=3, count=COUNT, fitted=np.arange(30))
    rows = {None: np.arange(COUNT), 0: np.arange(30), 1: np.arange(30), 2: np.arange(30)}
    handed = [x.nbytes for epoch, some in rows.items() for x, _ in inputs([some], epoch)]
    assert found.memory(COUNT, fitted=30, views=3) == sum(handed)
    assert found.memory(COUNT, fitted=30, views=0) == reuse("").memory(COUNT, fitted=30, views=3) == 0
    monkeypatch.setattr(boundary, "MEMORY_BYTES", sum(handed) - 1)
    assert found.memory(COUNT, fitted=30, views=3) == 0  # a file


def test_training_goes_through_the_whole_network_where_no_view_is_repeated_or_nothing_is_cut(reuse):
    found = reuse()
    assert found.trained_part(images, views=0, count=COUNT, fitted=np.arange(COUNT)) == (found.model, images)
    for stage, lines in ((None, 0), ("layer2", 1)):
        whole = reuse(stage, boundary=None)
        network, inputs = whole.trained_part(images, views=3, count=COUNT, fitted=np.arange(COUNT))
        assert network is whole.model
        seen = [float(next(iter(inputs([np.array([0])], epoch)))[0].mean()) for epoch in (0, 1, 2, 3, 4, None)]
        assert seen == [0, 1, 2, 0, 1, 9]
        assert len(whole.progress.lines) == lines


def test_what_is_below_the_cut_is_handed_on_as_it_was_computed_in_the_view_of_the_epoch(reuse):
    found, batches = reuse(), [np.array([3, 39]), np.array([0])]
    network, inputs = found.trained_part(images, views=2, count=COUNT, fitted=np.arange(COUNT))
    network.eval()
    for epoch, view in ((0, 0), (1, 1), (2, 0), (None, None), (3, 1), (None, None)):
        for (x, rows), (pixels, expected) in zip(inputs(batches, epoch), images(batches, view), strict=True):
            assert rows.tolist() == expected.tolist()
            with torch.no_grad():
                assert torch.allclose(network(x), found.model.eval()(pixels), atol=1e-4)


def test_images_that_judge_are_computed_in_single_precision_whatever_those_are_that_train(reuse):
    rough, exact = reuse(precision="bf16"), reuse()
    exact.model.load_state_dict(rough.model.state_dict())
    inputs = [each.trained_part(images, views=2, count=COUNT, fitted=np.arange(COUNT))[1] for each in (rough, exact)]
    for epoch, is_same in ((None, True), (0, False)):
        (one, _), (other, _) = (next(iter(made([np.arange(3)], epoch))) for made in inputs)
        assert torch.equal(one, other) == is_same


def test_without_room_for_what_is_below_the_cut_the_whole_network_is_gone_through(reuse, monkeypatch):
    monkeypatch.setattr(boundary, "MEMORY_BYTES", 0)
    monkeypatch.setattr(boundary, "FILE_BYTES", 0)
    found = reuse()
    network, inputs = found.trained_part(images, views=2, count=COUNT, fitted=np.arange(COUNT))
    assert network is found.model
    assert float(next(iter(inputs([np.array([0])], 2)))[0].mean()) == 0
    (line,) = found.progress.lines
    assert line.startswith("frozen stages run in every epoch, their outputs are not kept: ")
    assert line.endswith("activations are too many to keep")


def test_without_memory_for_what_is_below_the_cut_the_whole_network_is_gone_through(reuse, monkeypatch):
    def allocated(*given, **about):
        raise MemoryError("Unable to allocate 1 GiB")

    monkeypatch.setattr(boundary, "_array", allocated)
    found = reuse()
    assert found.trained_part(images, views=2, count=COUNT, fitted=np.arange(COUNT))[0] is found.model
    assert found.progress.lines == [
        "frozen stages run in every epoch, their outputs are not kept: unable to allocate 1 gib"
    ]


@pytest.mark.parametrize("wanted", [2, 4])
def test_features_of_more_views_are_those_of_the_images_in_the_augmentation_of_their_number(wanted):
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=3, image_size=32).eval()
    rows, plain = np.array([7, 2, 30]), Features.empty(COUNT, model, views=2)
    found = views.augmented(Extractor(model=model, views=wanted), plain, images, rows)
    assert len(found.views) == wanted
    assert found.views[:2] == plain.views
    for number, view in enumerate(found.views[2:], start=2):
        ((pixels, _),) = images([rows], number)
        with torch.no_grad():
            assert view[rows] == pytest.approx(model.features(pixels).numpy(), rel=1e-3, abs=1e-4)
        assert np.isnan(np.delete(view, rows, axis=0)).all()


@pytest.fixture
def photos(tmp_path):
    for number in range(3):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    return tmp_path


def loaded(folder, epoch, *, seed=0, rows=(0, 1, 2)):
    card = tk.zoo.create("timm:test_resnet", weights="none", num_classes=3, image_size=32).card
    made = loader.image_loader(
        PathTable.from_paths(folder / f"{number}.png" for number in range(3)),
        Views(augment.load("light", card.preprocessing), seed),
        photos=Photos(Decoding(384), workers=0),
        device="cpu",
    )
    ((x, found),) = made([np.array(rows)], epoch)
    return x, found.tolist()


def test_an_image_is_augmented_by_seed_epoch_and_row_and_else_as_it_is(photos):
    plain, rows = loaded(photos, None)
    assert rows == [0, 1, 2]
    pixels = np.stack([np.asarray(Image.open(photos / f"{number}.png")) for number in rows])
    assert (plain.std() / torch.from_numpy(pixels / 255).std()).item() > 1  # normalised
    several = [loaded(photos, 0)[0], loaded(photos, 1)[0], loaded(photos, 0, seed=1)[0], plain]
    assert len({x.numpy().tobytes() for x in several}) == 4
    again, rows = loaded(photos, 1, rows=(2, 0))
    assert rows == [2, 0]
    assert torch.equal(again, several[1][[2, 0]])


def test_a_photo_that_is_gone_ends_the_training(photos):
    (photos / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1\.png changed while training: .*; start again"):
        loaded(photos, None)
