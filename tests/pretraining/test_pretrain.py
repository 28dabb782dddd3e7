import dataclasses
import json
import os
import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.conftest import write_digits
from transferkit.model.build import create
from transferkit.pretraining import cifar, pretrain, provenance, students
from transferkit.pretraining.recipe import Job, Recipe, read_recipe, recipe_of
from transferkit.progress import Progress
from transferkit.train import state
from transferkit.zoo import files
from transferkit.zoo.errors import RunConflictError, StoppedError, UsageError

RESNET = Recipe(
    network="cifar_resnet", epochs=5, batch_size=16, optimizer="nesterov", peak_lr=0.02, warmup_share=0.2, l2=2.5e-4,
    label_smoothing=0.1, max_shift_px=2,
)  # fmt: skip
MLP = dataclasses.replace(
    RESNET, network="cifar_mlp", optimizer="adamw", peak_lr=1e-3, epochs=2, dropout=(0.1, 0.1), rank=20
)
BOTH = [RESNET, pytest.param(MLP, marks=pytest.mark.slow)]  # one loop trains both

QUICK = dataclasses.replace(RESNET, epochs=2, batch_size=8)


def write_parts(folder, *, per_class):
    for part in ("train", "test"):
        write_digits(folder / part, classes=(0, 1), per_class=per_class)
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("pretrain"), per_class=32)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Enough for two batches of `QUICK`."""
    return write_parts(tmp_path_factory.mktemp("few"), per_class=8)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (12, 3, 32, 32), np.uint8))


def job(data, out, recipe, **options):
    return Job(data=data, out=out, recipe=recipe, device="cpu", **options)


def stop_after(epoch):
    def stop(record):
        if record["epoch"] == epoch:
            raise StoppedError("stopped")

    return stop


@pytest.mark.parametrize("recipe", BOTH, ids=lambda recipe: recipe.network)
def test_the_card_scores_the_weights_that_were_written_as_the_zoo_opens_them(recipe, digits, tmp_path):
    out = tmp_path / "net.safetensors"
    records = []
    card = pretrain.pretrain(job(digits, out, recipe), on_record=records.append)
    assert records[-1]["loss"] < records[0]["loss"]
    assert json.loads(out.with_suffix(".json").read_text())["sha256"] == files.sha256(out)
    assert read_recipe(out.with_suffix(".recipe.json")) == recipe

    network = create(recipe.network, weights=out).eval()
    found = cifar.read(digits)
    x = torch.from_numpy(found.test_images).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.preprocessing.mean, card.preprocessing.std))
    with torch.no_grad():
        right = (network((x - mean) / std).argmax(1).numpy() == found.test_labels).mean()
    assert card.measured["64 test images"]["accuracy"] == right > 0.5  # naming one of the two classes always
    assert card.classes == found.classes == ("digit 0", "digit 1")
    assert card.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert card.training["seconds"] == round(sum(record["seconds"] for record in records))
    before = card.measured["64 test images, before the weights were packed"]
    assert abs(before["accuracy"] - right) < 0.1
    assert before["interval"][0] < before["accuracy"] <= before["interval"][1] + 1e-4


def test_the_state_before_packing_is_that_of_the_network_in_training(images):
    labels = torch.zeros(12, dtype=torch.int64)
    student = students.MlpStudent(images, num_classes=3, recipe=MLP, device="cpu", progress=Progress())
    student.network.eval()
    _, logits = student.loss(images, labels, rows=torch.arange(12), flipped=torch.zeros(12, dtype=torch.bool))
    opened = student.opened(student.state())
    with torch.no_grad():
        assert (opened(images / 255) - logits).norm() < 0.02 * logits.norm()  # trained in bfloat16


@pytest.mark.parametrize("has_bf16", [True, False])
@pytest.mark.parametrize("kind", [students.MlpStudent, students.ResNetStudent, None])
def test_bfloat16_is_for_processors_that_have_it(has_bf16, kind, images, monkeypatch):
    monkeypatch.setattr("transferkit.runtime.computes_bf16", lambda device: has_bf16)
    heard = []

    def hear(module, inputs, output):
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            heard.append(output.dtype)

    handle = nn.modules.module.register_module_forward_hook(hear)
    try:
        if kind is None:
            taught = dataclasses.replace(RESNET, teacher="cifar_mlp", teacher_size_px=32)
            students.teacher_features(taught, images, device="cpu", progress=Progress())
        else:
            recipe = MLP if kind is students.MlpStudent else RESNET
            student = kind(images, num_classes=3, recipe=recipe, device="cpu", progress=Progress())
            labels = torch.zeros(4, dtype=torch.int64)
            student.loss(images[:4], labels, rows=torch.arange(4), flipped=torch.zeros(4, dtype=torch.bool))
    finally:
        handle.remove()
    assert (torch.bfloat16 in heard) is has_bf16


@pytest.mark.slow  # the next test compares bytes, too
def test_the_same_recipe_gives_the_same_bytes(few, tmp_path):
    recipe = dataclasses.replace(QUICK, epochs=1)
    for name in "ab":
        pretrain.pretrain(job(few, tmp_path / f"{name}.safetensors", recipe))
    assert files.sha256(tmp_path / "a.safetensors") == files.sha256(tmp_path / "b.safetensors")


@pytest.mark.parametrize("recipe", BOTH, ids=lambda recipe: recipe.network)
def test_a_training_stopped_after_an_epoch_goes_on_to_the_bytes_of_one_that_was_not(recipe, few, tmp_path):
    recipe = dataclasses.replace(recipe, epochs=3)
    straight, stopped = tmp_path / "straight.safetensors", tmp_path / "stopped.safetensors"
    pretrain.pretrain(job(few, straight, recipe))
    with pytest.raises(StoppedError):
        pretrain.pretrain(job(few, stopped, recipe), on_record=stop_after(1))
    records = []
    card = pretrain.pretrain(job(few, stopped, recipe), on_record=records.append)
    assert [record["epoch"] for record in records] == list(range(recipe.epochs))
    assert card.training["seconds"] == round(sum(record["seconds"] for record in records))
    assert files.sha256(stopped) == files.sha256(straight)
    assert not stopped.with_suffix(".checkpoint").exists()


def test_the_seconds_of_a_card_are_those_of_all_sessions(few, tmp_path):
    given = job(few, tmp_path / "net.safetensors", QUICK)

    with pytest.raises(StoppedError):
        pretrain.pretrain(given, on_record=stop_after(0))
    kept = given.checkpoint / "epochs" / "epoch-0001"
    content = json.loads((kept / "state.json").read_text())
    content["records"][0]["seconds"] = 1000.0  # a long first session
    (kept / "state.json").write_text(json.dumps(content))
    (kept / state.MANIFEST).write_bytes(state.manifest_of(kept))
    assert 1000 <= pretrain.pretrain(given).training["seconds"] < 1100


def test_a_checkpoint_goes_on_with_its_own_numbers_and_data_only(few, tmp_path):
    out = tmp_path / "net.safetensors"
    with pytest.raises(StoppedError):
        pretrain.pretrain(job(few, out, QUICK), on_record=stop_after(0))
    with pytest.raises(RunConflictError, match="of a training with other numbers"):
        pretrain.pretrain(job(few, out, dataclasses.replace(QUICK, seed=1)))
    for part in ("train", "test"):
        write_digits(tmp_path / "others" / part, classes=(0, 1), per_class=7)
    with pytest.raises(RunConflictError, match="of a training on other data than"):
        pretrain.pretrain(job(tmp_path / "others", out, QUICK))
    epochs = []
    anew = job(tmp_path / "others", out, dataclasses.replace(QUICK, epochs=1), overwrite=True)
    pretrain.pretrain(anew, on_record=lambda record: epochs.append(record["epoch"]))
    assert epochs == [0]


@pytest.mark.slow  # of any checkpoint: tests/train/test_state.py
def test_a_training_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before_and_says_so(few, tmp_path):
    given = job(few, tmp_path / "net.safetensors", dataclasses.replace(QUICK, epochs=3))
    pretrain.pretrain(given)
    straight = given.out.read_bytes()
    given = dataclasses.replace(given, out=tmp_path / "again.safetensors")
    with pytest.raises(StoppedError):
        pretrain.pretrain(given, on_record=stop_after(1))
    (given.checkpoint / "epochs" / "epoch-0002" / "model.safetensors").write_bytes(b"x")
    lines = []

    class Heard(Progress):
        def say(self, line):
            lines.append(line)

    pretrain.pretrain(given, progress=Heard())
    assert [line for line in lines if "epoch-0002 is damaged; it is not used" in line]
    assert given.out.read_bytes() == straight


def test_what_killed_trainings_left_goes_at_the_next_start_and_nothing_else_does(few, tmp_path):
    given = job(few, tmp_path / "net.safetensors", dataclasses.replace(QUICK, epochs=1))
    left = [".net.checkpoint.abcd_123", ".net.checkpoint.77.tmp", ".net.safetensors.77.tmp", ".net.json.77.tmp"]
    mine = [".net.checkpoint.mine", ".other.safetensors.77.tmp", ".net.safetensors.tmp"]
    for name in (*left, *mine):
        (tmp_path / name).mkdir()
    (tmp_path / ".net.recipe.json.77.tmp").write_text("half")
    pretrain.pretrain(given)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {*mine, "net.safetensors", "net.json", "net.recipe.json"}


def test_two_trainings_never_write_one_file(few, tmp_path):
    given = job(few, tmp_path / "net.safetensors", dataclasses.replace(QUICK, epochs=1))

    def second(record):
        with pytest.raises(RunConflictError, match=f"is in use by process {os.getpid()}"):
            pretrain.pretrain(dataclasses.replace(given, overwrite=True))

    pretrain.pretrain(given, on_record=second)
    assert given.out.is_file()
    assert not given.out.with_suffix(".lock").exists()


def test_weights_that_are_there_are_replaced_only_when_asked_and_only_when_the_new_ones_are_trained(few, tmp_path):
    first = job(few, tmp_path / "net.safetensors", dataclasses.replace(QUICK, epochs=1))
    pretrain.pretrain(first)
    before = {path: path.read_bytes() for path in (first.out, first.card_file, first.recipe_file)}
    second = dataclasses.replace(first, recipe=QUICK)
    with pytest.raises(RunConflictError, match=r"net\.safetensors is there already; .* add --overwrite"):
        pretrain.pretrain(second)
    with pytest.raises(StoppedError):
        pretrain.pretrain(dataclasses.replace(second, overwrite=True), on_record=stop_after(0))
    assert {path: path.read_bytes() for path in before} == before
    pretrain.pretrain(second)  # goes on with what was asked for
    assert not [path for path in before if path.read_bytes() == before[path]]
    assert read_recipe(second.recipe_file) == second.recipe


def test_photos_without_a_test_part_are_trained_on_and_the_card_says_what_they_were(tmp_path):
    rng = np.random.default_rng(0)
    for number, name in enumerate(("dark", "light")):
        (tmp_path / "my photos" / name).mkdir(parents=True)
        for row in range(10):
            pixels = rng.integers(0, 100, (40, 50, 3), np.uint8) + np.uint8(150 * number)
            Image.fromarray(pixels).save(tmp_path / "my photos" / name / f"{row}.jpg", quality=60)
    recipe = dataclasses.replace(RESNET, epochs=1, batch_size=8, cutout_px=4)
    card = pretrain.pretrain(job(tmp_path / "my photos", tmp_path / "net.safetensors", recipe))
    assert next(iter(card.measured)) == "4 held-out images"
    assert card.training["data"] == "my photos: 16 images of 2 classes, JPEG, quality 60"
    assert "--data 'my photos' --recipe net.recipe.json -o net.safetensors" in card.training["command"]
    assert card.source == "trained by transferkit on the images of my photos"
    assert card.license == "unknown"
    assert "A residual network of three stages" in card.description
    assert "1 epoch of 16 images at 32 px" in card.description
    assert "went through JPEG, quality 60, for training and for the score" in card.description


def test_cifar_10_is_known_by_its_classes_and_then_cited(few, tmp_path):
    classes = json.loads(recipe_of("cifar_mlp").with_name("cifar_mlp.json").read_text())["classes"]
    given = job(few, tmp_path / "net.safetensors", QUICK)
    files.write_bytes(given.out, b"weights")
    found = dataclasses.replace(cifar.read(few), classes=tuple(classes))
    images = torch.from_numpy(found.images).permute(0, 3, 1, 2)
    student = students.ResNetStudent(images, num_classes=10, recipe=QUICK, device="cpu", progress=Progress())
    card = provenance.card(student, found, given, stored=student.stored(), seconds=1.0)
    assert card.source == (
        "trained by transferkit on CIFAR-10 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html)"
    )
    assert card.license == "Apache-2.0"


def test_the_machine_of_a_card_is_the_processor_and_its_threads(few, tmp_path):
    card = pretrain.pretrain(job(few, tmp_path / "net.safetensors", dataclasses.replace(QUICK, epochs=1)))
    processor, threads, torch_version = card.training["machine"].rsplit(", ", 2)
    assert (threads, torch_version) == ("1 thread", f"torch {torch.__version__}")  # as conftest sets it
    told = Path("/proc/cpuinfo")
    assert processor in (told.read_text() if told.is_file() else f"{platform.processor()} {platform.machine()}")


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
    mean, basis = students.principal_components(images, 6)
    both = torch.cat([images, images.flip(3)]).flatten(1).double().numpy() / 255
    assert mean.numpy() == pytest.approx(both.mean(0), abs=1e-6)
    centred = both - both.mean(0)
    variances, mixtures = np.linalg.eigh(centred @ centred.T)  # of 24 images: the same as of 3,072 pixels, and faster
    wanted = (mixtures[:, ::-1][:, :6].T @ centred) / np.sqrt(variances[::-1][:6, None])
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
    found = students.teacher_features(taught, images, device="cpu", progress=Progress()).float()
    teacher = create("cifar_resnet").eval()
    prepared = teacher.card.preprocessing
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (prepared.mean, prepared.std))
    wanted = []
    for view in (images, images.flip(3)):
        x = torch.nn.functional.interpolate((view / 255 - mean) / std, size=(48, 48), mode="bicubic")
        with torch.no_grad(), students.fast_arithmetic("cpu"):  # bfloat16 where the processor has it
            wanted.append(teacher.features(x).float())
    plain_mean, plain_deviation = wanted[0].mean(0), wanted[0].std(0) + 1e-3
    for features, expected in zip(found, wanted):
        scaled = (expected - plain_mean) / plain_deviation
        assert np.corrcoef(features.flatten(), scaled.flatten())[0, 1] > 0.99
    assert found[0].mean(0).abs().max() < 2e-3


def test_after_a_restart_the_rate_falls_once_more_from_a_share_of_the_peak():
    recipe = dataclasses.replace(RESNET, epochs=4, warmup_share=0.25, restart_epochs=2, restart_share=0.3)
    factors = [pretrain.rate_factor(step, recipe, steps_per_epoch=10) for step in range(60)]
    assert factors[9] == max(factors) == 1
    assert factors[:40] == [
        pretrain.rate_factor(step, dataclasses.replace(recipe, restart_epochs=0), steps_per_epoch=10)
        for step in range(40)
    ]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for factor in factors[40:]:
        assert factor == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        oracle.step()


def test_a_recipe_with_a_wrong_name_or_no_network_is_refused(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(dataclasses.asdict(RESNET) | {"epoch": 3}))
    with pytest.raises(UsageError, match="is not a recipe: unknown are epoch"):
        read_recipe(path)
    for wrong in ({"epochs": 1.5}, {"l2": float("1e999")}, {"dropout": "ab"}, {"lr_factors": [1]}, {"rank": True}):
        path.write_text(json.dumps(dataclasses.asdict(RESNET) | wrong).replace("Infinity", "1e999"))
        with pytest.raises(UsageError, match=f"{next(iter(wrong))} .* is of the wrong kind"):
            read_recipe(path)
    with pytest.raises(UsageError, match="cifar_mlp, cifar_resnet"):
        dataclasses.replace(RESNET, network="vgg")
    with pytest.raises(UsageError, match="has a rank"):
        dataclasses.replace(RESNET, network="cifar_mlp")


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        (RESNET, {"dropout": (0.1, 0.0)}, "cifar_resnet has no dropout, dropconnect or rank"),
        (RESNET, {"dropconnect": 0.5}, "cifar_resnet has no dropout, dropconnect or rank"),
        (RESNET, {"rank": 20}, "cifar_resnet has no dropout, dropconnect or rank"),
        (MLP, {"dropconnect": 0.5}, "instead of the second share of dropout"),
        (MLP, {"teacher": "cifar_resnet"}, "cifar_mlp has no teacher"),
    ],
)
def test_a_number_that_would_be_ignored_is_refused(recipe, changes, said):
    with pytest.raises(UsageError, match=said):
        dataclasses.replace(recipe, **changes)


@pytest.mark.parametrize(("recipe", "layers"), [(RESNET, "model"), (MLP, "fc1, fc2, fc3, fc")])
def test_a_learning_rate_of_a_layer_that_is_not_there_is_refused(recipe, layers, few, tmp_path):
    misspelt = dataclasses.replace(recipe, lr_factors={"fc9": 0.5})
    with pytest.raises(UsageError, match=f"lr_factors names 'fc9'; the layers of {recipe.network} are {layers}"):
        pretrain.pretrain(job(few, tmp_path / "net.safetensors", misspelt))


def test_a_training_that_finished_no_epoch_stands_in_the_way_of_no_other(few, tmp_path):
    given = job(few, tmp_path / "net.safetensors", dataclasses.replace(QUICK, lr_factors={"fc9": 0.5}))
    with pytest.raises(UsageError, match="lr_factors"):
        pretrain.pretrain(given)
    pretrain.pretrain(dataclasses.replace(given, recipe=dataclasses.replace(QUICK, epochs=1)))
    assert given.out.is_file()


def test_a_folder_of_another_kind_in_the_checkpoints_place_is_left_alone(few, tmp_path):
    given = job(few, tmp_path / "net.safetensors", QUICK)
    files.write_bytes(given.checkpoint / "state.json", b"mine")
    with pytest.raises(RunConflictError, match="of a training with other numbers"):
        pretrain.pretrain(given)
    with pytest.raises(RunConflictError, match="other things than a checkpoint"):
        pretrain.pretrain(dataclasses.replace(given, overwrite=True))
    assert (given.checkpoint / "state.json").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["cifar_mlp", "cifar_resnet"])
def test_the_recipes_of_the_embedded_networks_are_read(name):
    assert read_recipe(recipe_of(name)).network == name
