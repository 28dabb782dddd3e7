import json

import numpy as np
import pytest
import torch

from tests.conftest import write_digits
from transferkit.train import pretrain
from transferkit.train.pretrain import Recipe
from transferkit.zoo import files
from transferkit.zoo.errors import DataError, UsageError
from transferkit.zoo.resnet import CifarResNet


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    for part in ("train", "test"):
        write_digits(folder / part, classes=(0, 1), per_class=32)
    return folder


def test_the_card_scores_the_weights_that_were_written(digits, tmp_path):
    out = tmp_path / "net.safetensors"
    records = []
    card = pretrain.pretrain(digits, out, Recipe(epochs=6, batch_size=16, peak_lr=0.05), on_record=records.append)
    assert records[-1]["loss"] < records[0]["loss"]
    assert json.loads(out.with_suffix(".json").read_text())["sha256"] == files.sha256(out)

    network = CifarResNet(2)
    network.load_state_dict(files.read_safetensors(out))
    images, labels, classes = pretrain.read_images(digits / "test")
    mean, std = card.preprocessing.mean, card.preprocessing.std
    x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(
        std
    ).view(3, 1, 1)
    assert card.measured["64 test images"]["accuracy"] == pretrain.accuracy(network, x, torch.from_numpy(labels)) > 0.75
    assert card.classes == classes == ("digit 0", "digit 1")


def test_augmentation_is_a_shift_and_a_flip_that_alternates_with_the_epoch():
    images = torch.arange(4 * 3 * 8 * 8).float().view(4, 3, 8, 8)
    still = Recipe(max_shift_px=0)
    first, second, third = (pretrain.augmented(images, still, epoch=epoch) for epoch in range(3))
    assert torch.equal(first, third)
    assert torch.equal(first, second.flip(3))
    for view, image in zip(first, images):
        assert torch.equal(view, image) or torch.equal(view, image.flip(2))


def test_a_shift_moves_all_pixels_of_an_image_alike():
    image = torch.rand(1, 3, 8, 8)
    padded = torch.nn.functional.pad(image, (2,) * 4, mode="reflect")
    windows = [padded[0, :, top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
    windows += [window.flip(2) for window in windows]
    view = pretrain.augmented(image, Recipe(max_shift_px=2), epoch=1)[0]
    assert any(torch.equal(view, window) for window in windows)


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    rates = [pretrain.lr_at(step, 100, Recipe()) for step in range(100)]
    assert np.argmax(rates) in (19, 20)
    assert max(rates) == pytest.approx(Recipe().peak_lr)
    assert 0 < rates[-1] < 0.01


def test_images_of_another_size_or_a_missing_folder_are_refused(tmp_path):
    write_digits(tmp_path / "big", classes=(0, 1), per_class=2, size_px=48)
    with pytest.raises(DataError, match="48 x 48"):
        pretrain.read_images(tmp_path / "big")
    with pytest.raises(UsageError, match="no such folder"):
        pretrain.read_images(tmp_path / "nowhere")
