"""`transferkit push`: what the hub gets, who opens it again, and what is refused in one line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import transferkit as tk
from tests.ship.hub_server import READER, WRITER, serving
from transferkit import tasks
from transferkit.cli.main import run as cli
from transferkit.ship import artifact
from transferkit.ship import hub as hub_files
from transferkit.trust import NOTHING_KNOWN
from transferkit.zoo.errors import NetworkError

# huggingface_hub 2.4 gives its client bytes in a way that is to end
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ROOT = Path(__file__).resolve().parents[2]
NAME = "some-body/three.things"
OPTIONS = {"weights": "none", "image_size": 64, "strategy": "probe", "l2": 0.01, "precision": "fp32"}
READ = """
import json, sys, timm, torch, PIL.Image
import transferkit as tk
name, *paths = sys.argv[1:]
mine = tk.load(f"hf-hub:{name}")
said = [p.__dict__ | {"source": None} for p in mine.predict(paths, top=9)]
model = timm.create_model(f"hf-hub:{name}", pretrained=True).eval()
view = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
with torch.no_grad():
    batch = torch.stack([view(PIL.Image.open(path).convert("RGB")) for path in paths])
    theirs = model(batch).softmax(1).tolist()
labels = model.pretrained_cfg["label_names"]
body = tk.zoo.create(f"hf-hub:{name}")
print(json.dumps({"mine": said, "timm": theirs, "labels": labels, "backbone": body.num_classes}))
"""
TRANSFORMERS = """
import json, sys, torch, transformers, PIL.Image
name, *paths = sys.argv[1:]
transformers.logging.set_verbosity_error()
model = transformers.AutoModelForImageClassification.from_pretrained(name).eval()
processor = transformers.AutoImageProcessor.from_pretrained(name)
with torch.no_grad():
    inputs = processor([PIL.Image.open(path).convert("RGB") for path in paths], return_tensors="pt")
    logits = model(**inputs).logits.tolist()
said = transformers.pipeline("image-classification", model=name, top_k=model.config.num_labels)(paths)
print(json.dumps({"logits": logits, "labels": model.config.id2label, "pipeline": said}))
"""


@pytest.fixture(scope="module")
def hub():
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def _client(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # a protocol of its own
    monkeypatch.setenv("HF_TOKEN", WRITER)


@pytest.fixture(scope="module")
def trained(album, tmp_path_factory):
    """A run whose backbone is a model folder of this machine, and photos."""
    base = tmp_path_factory.mktemp("a secret place")
    backbone = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2)
    first = artifact.Artifact(
        backbone=backbone, classes=("x", "y"), preprocessing=backbone.card.preprocessing, record={}
    )
    artifact.save(base / "start", first)
    options = OPTIONS | {"weights": None, "backbone": str(base / "start"), "test_fraction": 0.3}
    run = tk.finetune(album, out=str(base / "run"), **options)
    return run, sorted(map(str, album.rglob("*.jpg")))[:8]


def elsewhere(code, hub, cache, *arguments):
    """The JSON that a process prints which knows no other hub."""
    changes = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    kept = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=kept | changes, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_pushed_opens_in_timm_and_here_with_the_same_answers_and_tells_no_path(hub, trained, tmp_path, capsys):
    run, photos = trained
    assert cli(["push", str(run.folder), NAME]) == 0
    assert capsys.readouterr().out.strip() == f"{hub.url}/{NAME}"
    repository = hub.repositories[NAME]
    assert not repository["private"]
    expected = {"README.md", "config.json", "model.safetensors", "familiarity.safetensors", "MANIFEST.json"}
    assert set(repository["files"]) <= expected | {".gitattributes"}
    secrets = {"a secret place", str(Path.home()), " photo.jpg", "copy.jpg", os.fspath(run.folder), "/tmp"}
    for body in [*repository["files"].values(), *hub.bodies]:
        assert not [each for each in secrets if each.encode() in body]
    told = elsewhere(READ, hub, tmp_path, NAME, *photos)
    mine = run.classifier.predict(photos, top=9)
    for given, here, theirs in zip(told["mine"], mine, told["timm"]):
        assert given["label"] == here.label
        assert given["probability"] == pytest.approx(here.probability, abs=1e-5)
        assert (given["is_sure"], given["is_familiar"]) == (here.is_sure, here.is_familiar)
        assert told["labels"][int(np.argmax(theirs))] == here.label
        assert dict(zip(told["labels"], theirs)) == pytest.approx(dict(here.top), abs=1e-4)
    assert told["backbone"] == 3


def test_the_card_has_what_the_hub_reads_of_it(hub, trained, tmp_path):
    run, _ = trained
    assert cli(["push", str(run.folder), NAME, "-o", str(tmp_path / "out")]) == 0
    _, front, body = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    data = yaml.safe_load(front)
    assert data["library_name"] == "timm"
    assert data["pipeline_tag"] == "image-classification"
    assert data["license"] == "apache-2.0"
    (index,) = data["model-index"]
    assert index["name"] == "three.things"
    (result,) = index["results"]
    scores = run.metrics["test"]
    expected = {"accuracy": scores["accuracy"], "f1": scores["macro_f1"]}
    assert {each["type"]: each["value"] for each in result["metrics"]} == pytest.approx(expected)
    assert "FOLDER" not in body
    assert f'timm.create_model("hf-hub:{NAME}"' in body
    assert f'model="{NAME}"' in body
    assert artifact.load(tmp_path / "out").classes == run.classifier.classes
    assert cli(["push", str(run.folder), NAME, "-o", str(tmp_path / "out")]) == 2


def test_a_licence_that_the_hub_does_not_know_is_another_one_with_its_name(trained, tmp_path):
    model = artifact.load(trained[0].folder)
    model.backbone.card = replace(model.backbone.card, license="DINOv3: Licence\nx")
    hub_files.write(tmp_path / "out", model, NAME)
    data = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---\n")[1])
    assert (data["license"], data["license_name"]) == ("other", "dinov3-licence-x")


def test_a_second_push_replaces_the_first(hub, trained, tmp_path, capsys):
    run, _ = trained
    for _ in range(2):
        assert cli(["push", str(run.folder), "some-body/twice", "--private"]) == 0
        assert hub.repositories["some-body/twice"]["private"]
        assert "Processing" not in capsys.readouterr().err
        hub.repositories["some-body/twice"]["files"]["README.md"] += b"changed"
    assert b"changed" in hub.repositories["some-body/twice"]["files"].pop("README.md")
    commits = [path for method, path in hub.asked if path.endswith("twice/commit/main")]
    assert len(commits) == 2


def test_what_is_to_be_private_is_never_sent_to_a_repository_that_is_public(hub, trained, capsys):
    run, _ = trained
    hub.repositories["some-body/open"] = {"private": False, "files": {}, "large": set()}
    assert cli(["push", str(run.folder), "some-body/open", "--private"]) == 2
    assert "is there already and public" in capsys.readouterr().err
    assert hub.repositories["some-body/open"]["files"] == {}


@pytest.mark.parametrize("name", ["me", "me/", "/x", "a/b/c", "me/a b", "me/../x", "me/a--b", "../x", "me/x.git"])
def test_a_name_that_no_repository_has_is_refused_before_anything_is_read(name, capsys):
    assert cli(["push", "no such run", name]) == 2
    assert "write ORG/NAME" in capsys.readouterr().err


def test_what_the_hub_or_the_network_refuses_is_one_line(hub, trained, monkeypatch, tmp_path, capsys):
    run, _ = trained
    for token, name, words in (
        (READER, NAME, "(403): the token may not write to"),
        ("hf_wrong", NAME, "(401): the token is not valid"),
        (WRITER, "others/x", "(403): the token may not write to others/x"),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        assert cli(["push", str(run.folder), name]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert len(err.splitlines()) == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN")
    assert cli(["push", str(run.folder), NAME]) == 2
    assert "hf auth login" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert cli(["push", str(run.folder), NAME]) == NetworkError.exit_code
    assert "no connection to 127.0.0.1" in capsys.readouterr().err
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert cli(["push", str(run.folder), NAME]) == NetworkError.exit_code


def test_an_ensemble_and_a_network_that_is_not_of_timm_are_refused_with_what_to_do(trained, tmp_path, capsys):
    run, _ = trained
    tk.ensemble([run.folder, run.folder], tmp_path / "both")
    assert cli(["push", str(tmp_path / "both"), NAME]) == 2
    assert "push its members one by one" in capsys.readouterr().err
    pair = tk.zoo.create("cifar_resnet+cifar_resnet", num_classes=2)
    about = {"classes": ("a", "b"), "preprocessing": pair.card.preprocessing, "record": {}}
    artifact.save(tmp_path / "pair", artifact.Artifact(backbone=pair, **about))
    assert cli(["push", str(tmp_path / "pair"), NAME]) == 2
    assert "this is cifar_resnet+cifar_resnet; push its members one by one: MODEL/members/0" in capsys.readouterr().err
    assert cli(["push", "cifar_resnet", NAME]) == 2
    assert "is no network of timm" in capsys.readouterr().err


def test_a_multi_label_classifier_says_so_where_transformers_looks(trained, tmp_path):
    model = artifact.load(trained[0].folder)
    task = tasks.read("multi-label", (0.5, 0.5, 0.5), num_classes=3)
    model = replace(model, task=task, trust=NOTHING_KNOWN, record={})
    hub_files.write(tmp_path / "out", model, NAME)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["problem_type"] == "multi_label_classification"
    assert "top_k=3" in (tmp_path / "out" / "README.md").read_text()
    assert artifact.load(tmp_path / "out").task == model.task


@pytest.mark.slow  # transformers takes half a minute to import on a slow machine
def test_transformers_opens_it_and_names_real_photos_the_same(hub, trained, tmp_path):
    pytest.importorskip("transformers")
    run, photos = trained
    assert cli(["push", str(run.folder), "some-body/for-transformers"]) == 0
    told = elsewhere(TRANSFORMERS, hub, tmp_path, "some-body/for-transformers", *photos)
    for logits, said, here in zip(told["logits"], told["pipeline"], run.classifier.predict(photos, top=9)):
        assert told["labels"][str(int(np.argmax(logits)))] == here.label == said[0]["label"]
        assert {each["label"]: each["score"] for each in said} == pytest.approx(dict(here.top), abs=1e-4)
