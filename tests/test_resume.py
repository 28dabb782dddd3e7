"""A run goes on with what it began with, or says what is no longer the same."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import transferkit as tk
from tests.conftest import write_digits
from transferkit import runtime
from transferkit.data import augment, folder, manifest
from transferkit.progress import Progress
from transferkit.ship import begun, record
from transferkit.zoo import files, packages
from transferkit.zoo.errors import RunConflictError, StoppedError, UsageError

FINETUNE = {"strategy": "finetune", "epochs": 3, "image_size": 32, "augment": "light", "batch_size": 8}


class Stopping(Progress):
    """Stops at the first line that begins with `at`, and keeps what was said."""

    def __init__(self, at: str = "never"):
        self.at = at
        self.said: list[str] = []
        self.phases: list[str] = []

    def start(self, name, total=None):
        self.phases.append(name)

    def say(self, line):
        self.said.append(line)

    def note(self, figures):
        if figures.startswith(self.at):
            raise StoppedError("stopped by SIGTERM")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two networks with weights of their own in files."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("one", "other"):
        network = tk.zoo.create("timm:test_resnet", weights="none", num_classes=10, image_size=32)
        files.write_safetensors(folder / f"{name}.safetensors", network.model.state_dict())
    return folder


@pytest.fixture(scope="module")
def place(weights, tmp_path_factory):
    """Images, weights, and a run on them that was stopped in its third epoch; beside them a copy of all."""
    place = tmp_path_factory.mktemp("resume") / "place"
    data = write_digits(place / "data", classes=(0, 1), per_class=8)
    shutil.copy(weights / "one.safetensors", place / "w.safetensors")
    options = FINETUNE | {"backbone": "timm:test_resnet", "weights": str(place / "w.safetensors")}
    with pytest.raises(StoppedError):
        tk.finetune(data, out=str(place / "r"), progress=Stopping("epoch 3/"), **options)
    shutil.copytree(place, place.with_name("copy"))
    return place


@pytest.fixture
def data(place):
    """The images, which a test may change; the whole folder is put back after it."""
    yield place / "data"
    shutil.rmtree(place)
    shutil.copytree(place.with_name("copy"), place)


@pytest.fixture
def stopped(data):
    """The run that was stopped; its weights may be replaced."""
    return data.parent / "r"


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def paint(path: Path) -> None:
    Image.new("RGB", (32, 32)).save(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: swap(data / "digit 0/000.png", data / "digit 0/001.png"), "2 changed, the first digit 0/000.png"),
        (lambda data: paint(data / "digit 1/new.png"), "1 added, the first digit 1/new.png"),
        (lambda data: (data / "digit 1/003.png").unlink(), "1 removed, the first digit 1/003.png"),
        (lambda data: (data / "digit 1/003.png").rename(data / "digit 0/x.png"), "1 added, the first digit 0/x.png; 1"),
    ],
)
def test_other_images_are_refused_by_name(stopped, data, change, told):
    change(data)
    with pytest.raises(RunConflictError, match=f"not those that .*{told}"):
        tk.finetune(resume=True, out=str(stopped))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,labels\na.png,cat|dog\nb.png,dog\n", "1 labelled otherwise, the first a.png"),
        ("path,label\na.png,cat\nb.png,dog\n", "the order of their classes, or whether an image has one class"),
        ("path,dog,cat\na.png,0,1\nb.png,1,0\n", "the order of their classes, or whether an image has one class"),
    ],
)
def test_other_labels_are_refused_by_name(tmp_path, text, told):
    (tmp_path / "data.csv").write_text("path,labels\na.png,cat\nb.png,dog\n")
    listing, hashes = folder.read(tmp_path / "data.csv"), ["1", "2"]
    manifest.write_manifest(tmp_path / "manifest.csv", listing, sha256=hashes, bytes=[1, 1])
    about = {"fingerprint": begun.fingerprint(listing, hashes), "source": str(listing.source)}
    old = begun.Begun(path=tmp_path, record={"data": about})
    old.check_images(tmp_path, listing, hashes)
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(RunConflictError, match=f"not those that .*{told}"):
        old.check_images(tmp_path, folder.read(tmp_path / "data.csv"), hashes)


def test_other_weights_are_refused(stopped, weights):
    shutil.copy(weights / "other.safetensors", stopped.parent / "w.safetensors")
    with pytest.raises(RunConflictError, match=r"the weights of .*test_resnet.* changed since"):
        tk.finetune(resume=True, out=str(stopped))


def test_a_rate_edited_in_run_json_is_refused_and_the_way_to_another_rate_is_told(stopped):
    record = json.loads((stopped / "run.json").read_text())
    record["config"]["lr"] *= 2
    (stopped / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunConflictError, match=r"run.json is not as the run wrote it.*--config"):
        tk.finetune(resume=True, out=str(stopped))


def test_a_run_goes_on_where_its_folder_of_images_was_moved_to(stopped, data, tmp_path):
    data.rename(tmp_path / "moved")
    run = tk.finetune(tmp_path / "moved", resume=True, out=str(stopped))
    assert run.metrics["val"]["n"] > 0


def test_the_threads_of_the_beginning_are_used_again_and_versions_that_changed_are_said(stopped, monkeypatch):
    monkeypatch.setattr(runtime, "versions", lambda: found | {"torch": "99.0"})
    found = json.loads((stopped / "run.json").read_text())["versions"]
    progress, threads = Stopping(), []
    progress.start = lambda name, total=None: threads.append(torch.get_num_threads())
    torch.set_num_threads(2)
    try:
        run = tk.finetune(resume=True, out=str(stopped), progress=progress)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(threads) == {1}
    assert "threads: 1, as the run began, not 2" in progress.said
    changed = f"no longer bit-exact: torch {found['torch']} -> 99.0"
    assert changed in progress.said
    assert f"resumed, {changed}" in run.metrics["notes"]


def test_resume_of_a_finished_run_says_so_and_trains_nothing(data, tmp_path, monkeypatch):
    out = tmp_path / "r"
    options = FINETUNE | {"backbone": "timm:test_resnet", "weights": "none"}
    first = tk.finetune(data, out=str(out), **options)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    progress, found = Stopping(), runtime.versions()
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "versions", lambda: found | {"torch": "99.0"})
        again = tk.finetune(resume=True, out=str(out), progress=progress)
    assert again.metrics == first.metrics
    assert not [line for line in progress.said if "bit-exact" in line]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert f"{out} is finished: its model is in {out / 'model'}" in progress.said
    assert not {"fine-tuning", "refitting"} & {*progress.phases}
    for name in ("report.html", "curves.png"):
        (out / name).unlink()
        tk.finetune(resume=True, out=str(out))
        assert (out / name).exists()
    paint(data / "digit 0" / "new.png")
    with pytest.raises(RunConflictError, match="1 added"):
        tk.finetune(resume=True, out=str(out))
    with pytest.raises(UsageError, match="drop --seed"):
        tk.finetune(resume=True, out=str(out), seed=1)


@pytest.mark.slow  # as options of run.json are: test_resume_of_a_finished_run...
def test_what_auto_chose_is_kept_and_not_chosen_anew(data, tmp_path, monkeypatch, install):
    out = str(tmp_path / "r")
    for name in packages.NAMES:
        install(name, None)  # auto falls back
    with pytest.raises(StoppedError):
        tk.finetune(data, out=out, cache_dir=tmp_path / "cache", progress=Stopping("epoch 2/"), **FINETUNE)
    for installed in tmp_path.glob("*.dist-info"):
        shutil.rmtree(installed)
    config = json.loads((tmp_path / "r" / "run.json").read_text())["config"]
    assert config["backbone"] == "cifar_resnet"
    assert "auto" not in (config["backbone"], config["precision"])
    assert config["views"] is not None
    monkeypatch.setattr("transferkit.model.boundary.saving", lambda *_, **__: pytest.fail("timed anew"))
    progress = Stopping()
    assert tk.finetune(resume=True, out=out, progress=progress).metrics["backbone"] == "cifar_resnet"
    assert not [line for line in progress.said if line.startswith("backbone")]


def test_another_augmentation_in_the_same_file_is_refused(data, tmp_path):
    rule = "{__version__: 2.0.8, transform: {__class_fullname__: Compose, transforms: [{__class_fullname__: %s}]}}"
    (tmp_path / "a.yaml").write_text(rule % "HorizontalFlip")
    options = FINETUNE | {"backbone": "timm:test_resnet", "weights": "none", "augment": str(tmp_path / "a.yaml")}
    with pytest.raises(StoppedError):
        tk.finetune(data, out=str(tmp_path / "r"), progress=Stopping("epoch 2/"), **options)
    (tmp_path / "a.yaml").write_text(rule % "VerticalFlip")
    with pytest.raises(RunConflictError, match=r"the augmentation in .*a\.yaml changed"):
        tk.finetune(resume=True, out=str(tmp_path / "r"))


def test_views_by_another_engine_are_refused(stopped, request):
    assert json.loads((stopped / "run.json").read_text())["engine"] == "albumentations"
    request.getfixturevalue("without_albumentations")
    with pytest.raises(RunConflictError, match=r"^albumentations made the views of .*install albumentations==2\.0\.8"):
        tk.finetune(resume=True, out=str(stopped))


def test_a_run_without_albumentations_says_so_and_does_not_go_on_with_it(data, tmp_path, request):
    progress, options = Stopping("epoch 2/"), FINETUNE | {"backbone": "timm:test_resnet", "weights": "none"}
    request.getfixturevalue("without_albumentations")
    with pytest.raises(StoppedError):
        tk.finetune(data, out=str(tmp_path / "r"), cache_dir=tmp_path / "cache", progress=progress, **options)
    told = [line for line in progress.said if "torchvision makes the views" in line]
    assert len(told) == 1
    assert any(line.startswith("near copies are not looked for without OpenCV") for line in progress.said)
    assert json.loads((tmp_path / "r" / "run.json").read_text())["engine"] == "torchvision"
    request.getfixturevalue("monkeypatch").undo()
    for each in (augment._albumentations, augment.why_missing):
        each.cache_clear()
    with pytest.raises(RunConflictError, match=r"^torchvision made the views of .* go on without albumentations"):
        tk.finetune(resume=True, out=str(tmp_path / "r"))


def test_a_probe_that_draws_no_views_needs_no_engine(data, tmp_path, without_albumentations):
    progress = Stopping()
    options = {"strategy": "probe", "backbone": "timm:test_resnet", "weights": "none", "image_size": 32}
    run = tk.finetune(data, out=str(tmp_path / "r"), progress=progress, **options)
    found = json.loads((run.folder / "run.json").read_text())
    assert found.pop("engine") == ""
    assert not [line for line in progress.said if "torchvision" in line]
    (run.folder / "run.json").write_text(json.dumps(begun.sealed(found)))  # as records were
    assert tk.finetune(resume=True, out=str(run.folder)).metrics == run.metrics


@pytest.mark.skipif(os.name == "nt", reason="names of bytes")
@pytest.mark.slow
def test_an_ignored_file_whose_name_is_no_text_does_not_bar_resume(data, tmp_path):
    (Path(os.fsdecode(os.fsencode(data / "digit 0") + b"/caf\xe9.txt"))).write_text("")
    options = FINETUNE | {"backbone": "timm:test_resnet", "weights": "none"}
    with pytest.raises(StoppedError):
        tk.finetune(data, out=str(tmp_path / "r"), progress=Stopping("epoch 2/"), **options)
    tk.finetune(resume=True, out=str(tmp_path / "r"))


@pytest.mark.slow  # at any instant: tests/faults/test_kills.py
def test_a_run_killed_just_after_it_began_gets_the_lists_that_it_lacks(data, tmp_path, monkeypatch):
    options, out = FINETUNE | {"epochs": 1, "backbone": "timm:test_resnet", "weights": "none"}, tmp_path / "r"
    straight = tk.finetune(data, out=str(tmp_path / "straight"), **options)

    def killed(run, taken):
        raise StoppedError("stopped by SIGTERM")

    with monkeypatch.context() as patch:
        patch.setattr(record, "begin", killed)
        with pytest.raises(StoppedError):
            tk.finetune(data, out=str(out), **options)
    assert not (out / "manifest.csv").exists()
    tk.finetune(resume=True, out=str(out))
    for name in ("manifest.csv", "quarantine.csv", "predictions.csv", "model/model.safetensors"):
        assert (out / name).read_bytes() == (straight.folder / name).read_bytes()


def test_a_file_of_options_is_refused_where_a_run_goes_on_with_its_own(tmp_path):
    (tmp_path / "options.yaml").write_text("epochs: 50\n")
    with pytest.raises(UsageError, match="drop --config"):
        tk.finetune(resume=True, out=str(tmp_path / "r"), config_file=tmp_path / "options.yaml")
