import dataclasses
import json

import numpy as np
import pytest
import torch

from tests.conftest import write_digits
from transferkit.data import cifar
from transferkit.model.build import create
from transferkit.progress import Progress
from transferkit.train import pretrain, pupils
from transferkit.train.recipe import Recipe, read_recipe
from transferkit.zoo import files
from transferkit.zoo.errors import RunConflictError, StoppedError, UsageError

RESNET = Recipe(
    network="cifar_resnet", epochs=5, batch_size=16, optimizer="nesterov", peak_lr=0.05, warmup_share=0.2, l2=2.5e-4,
    label_smoothing=0.1, max_shift_px=2,
)  # fmt: skip
MLP = dataclasses.replace(
    RESNET, network="cifar_mlp", optimizer="adamw", peak_lr=1e-3, epochs=2, dropout=(0.1, 0.1), rank=20
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    for part in ("train", "test"):
        write_digits(folder / part, classes=(0, 1), per_class=32)
    return folder


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (12, 3, 32, 32), np.uint8))


@pytest.mark.parametrize("recipe", [RESNET, MLP], ids=lambda recipe: recipe.network)
def test_the_card_scores_the_weights_that_were_written_as_the_zoo_opens_them(recipe, digits, tmp_path):
    out = tmp_path / "net.safetensors"
    records = []
    card = pretrain.pretrain(digits, out, recipe, device="cpu", on_record=records.append)
    assert records[-1]["loss"] < records[0]["loss"]
    assert json.loads(out.with_suffix(".json").read_text())["sha256"] == files.sha256(out)
    assert read_recipe(out.with_suffix(".recipe.json")) == recipe

    network = create(recipe.network, weights=out).eval()
    found = cifar.read(digits)
    x = torch.from_numpy(found.test_images).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.preprocessing.mean, card.preprocessing.std))
    with torch.no_grad():
        right = (network((x - mean) / std).argmax(1).numpy() == found.test_labels).mean()
    assert card.measured["64 test images"]["accuracy"] == right > 0.75
    assert card.classes == found.classes == ("digit 0", "digit 1")
    assert card.parameters == sum(parameter.numel() for parameter in network.parameters())


def test_the_same_recipe_gives_the_same_bytes(digits, tmp_path):
    recipe = dataclasses.replace(RESNET, epochs=1)
    for name in "ab":
        pretrain.pretrain(digits, tmp_path / f"{name}.safetensors", recipe, device="cpu", on_record=lambda record: None)
    assert files.sha256(tmp_path / "a.safetensors") == files.sha256(tmp_path / "b.safetensors")


@pytest.mark.parametrize("recipe", [RESNET, dataclasses.replace(MLP, epochs=3)], ids=lambda recipe: recipe.network)
def test_a_training_stopped_after_an_epoch_goes_on_to_the_bytes_of_one_that_was_not(recipe, digits, tmp_path):
    straight, stopped = tmp_path / "straight.safetensors", tmp_path / "stopped.safetensors"
    pretrain.pretrain(digits, straight, recipe, device="cpu")

    def stop(record):
        if record["epoch"] == 1:
            raise StoppedError("stopped")

    with pytest.raises(StoppedError):
        pretrain.pretrain(digits, stopped, recipe, device="cpu", on_record=stop)
    other = dataclasses.replace(recipe, seed=1)
    with pytest.raises(RunConflictError, match="of a training with other numbers"):
        pretrain.pretrain(digits, stopped, other, device="cpu")
    epochs = []
    pretrain.pretrain(digits, stopped, recipe, device="cpu", on_record=lambda record: epochs.append(record["epoch"]))
    assert epochs == list(range(recipe.epochs))
    assert files.sha256(stopped) == files.sha256(straight)
    assert not stopped.with_suffix(".checkpoint").exists()


def test_augmentation_is_a_shift_and_a_flip_that_alternates_with_the_epoch(images):
    still = dataclasses.replace(RESNET, max_shift_px=0)
    (first, flipped), (second, _), (third, _) = (pretrain.augmented(images, still, epoch=epoch) for epoch in range(3))
    assert torch.equal(first, third)
    assert torch.equal(first, second.flip(3))
    for view, image, is_flipped in zip(first, images, flipped):
        assert torch.equal(view, image.flip(2) if is_flipped else image)


def test_a_shift_moves_all_pixels_of_an_image_alike(images):
    view = pretrain.augmented(images[:1], RESNET, epoch=1)[0][0]
    padded = torch.nn.functional.pad(images[:1].float(), (2,) * 4, mode="reflect").byte()[0]
    windows = [padded[:, top : top + 32, left : left + 32] for top in range(5) for left in range(5)]
    windows += [window.flip(2) for window in windows]
    assert any(torch.equal(view, window) for window in windows)


def test_a_cut_square_has_the_mean_colour_and_the_rest_of_the_image_is_untouched(images):
    recipe = dataclasses.replace(RESNET, cutout_px=12)
    cut = pretrain.cut_out(images, recipe, epoch=0)
    mean = images.double().mean((0, 2, 3)).numpy().astype(np.uint8)
    corners = set()
    for view, image in zip(cut.numpy(), images.numpy()):
        rows, columns = np.nonzero((view != image).any(0))
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        assert 6 <= bottom - top <= 12  # less at the border
        assert 6 <= right - left <= 12
        assert (view[:, top:bottom, left:right] == mean[:, None, None]).all()
        corners.add((top, left))
    assert len(corners) > 6
    assert not torch.equal(cut, pretrain.cut_out(images, recipe, epoch=1))


def test_principal_components_are_those_of_the_covariance(images):
    mean, basis = pupils.principal_components(images, 6)
    both = torch.cat([images, images.flip(3)]).flatten(1).double().numpy() / 255
    assert mean.numpy() == pytest.approx(both.mean(0), abs=1e-6)
    _, vectors = np.linalg.eigh(np.cov(both.T))
    wanted = vectors[:, ::-1][:, :6].T
    overlap = np.abs((basis.numpy() / np.linalg.norm(basis.numpy(), axis=1, keepdims=True)) @ wanted.T)
    assert overlap == pytest.approx(np.eye(6), abs=1e-3)
    coordinates = (both - both.mean(0)) @ basis.numpy().T
    assert coordinates.var(0, ddof=1).mean() == pytest.approx(1, rel=1e-4)


def test_a_whitened_stem_gives_uncorrelated_numbers_of_variance_one():
    from transferkit.zoo.resnet import CifarResNet

    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(40, 3, 32, 32)).astype(np.float32)).cumsum(3) / 4  # neighbours are alike
    x = x - x.mean()
    network = CifarResNet(2)
    network.whiten(x, floor=0)
    with torch.no_grad():
        numbers = network.stem[0](x).permute(1, 0, 2, 3).reshape(24, -1)
    assert torch.allclose(numbers[:12] @ numbers[:12].T / numbers.shape[1], torch.eye(12), atol=1e-3)
    assert torch.equal(numbers[12:], -numbers[:12])


def test_a_teachers_features_are_those_of_the_enlarged_images_standardised(digits):
    images = torch.from_numpy(cifar.read(digits).images[::5]).permute(0, 3, 1, 2)
    taught = dataclasses.replace(RESNET, teacher="cifar_resnet", teacher_size_px=48)
    found = pupils.teacher_features(taught, images, device="cpu", progress=Progress()).float()
    teacher = create("cifar_resnet").eval()
    prepared = teacher.card.preprocessing
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (prepared.mean, prepared.std))
    wanted = []
    for view in (images, images.flip(3)):
        x = torch.nn.functional.interpolate((view / 255 - mean) / std, size=(48, 48), mode="bicubic")
        with torch.no_grad():
            wanted.append(teacher.features(x))
    plain_mean, plain_deviation = wanted[0].mean(0), wanted[0].std(0) + 1e-3
    for features, expected in zip(found, wanted):
        scaled = (expected - plain_mean) / plain_deviation
        assert np.corrcoef(features.flatten(), scaled.flatten())[0, 1] > 0.99  # computed in bfloat16
    assert found[0].mean(0).abs().max() < 2e-3


def test_a_recipe_with_a_wrong_name_or_no_network_is_refused(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(dataclasses.asdict(RESNET) | {"epoch": 3}))
    with pytest.raises(UsageError, match="is not a recipe"):
        read_recipe(path)
    with pytest.raises(UsageError, match="cifar_mlp, cifar_resnet"):
        dataclasses.replace(RESNET, network="vgg")
    with pytest.raises(UsageError, match="has a rank"):
        dataclasses.replace(RESNET, network="cifar_mlp")
