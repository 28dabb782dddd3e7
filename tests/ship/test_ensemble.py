"""Ensembles: the answer is the mean of the members' softmax outputs, equal parts run once, damage is found."""

import copy
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image

import transferkit as tk
from transferkit.data.decode import eval_view
from transferkit.model.build import create
from transferkit.model.ensemble import stack_heads
from transferkit.ship import artifact
from transferkit.ship.artifact import Artifact
from transferkit.ship.classifier import Classifier
from transferkit.zoo.errors import ModelFileError, RunConflictError, UsageError
from transferkit.zoo.files import sha256

CLASSES = ("ant", "bee", "wasp")


def member(seed: int, name: str = "timm:test_resnet", *, classes=CLASSES, size_px: int = 32, **options) -> Artifact:
    """A network with random weights and a head that tells images apart; the seed decides all of them."""
    torch.manual_seed(seed)
    backbone = create(name, num_classes=len(classes), weights="none", image_size=size_px, **options)
    with torch.no_grad():
        for tensor in backbone.model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.01 * torch.rand_like(tensor))
    record = {"val": {"accuracy": 0.5 + seed / 100, "loss": 1.0, "n": 40}}
    return with_head(
        Artifact(backbone=backbone, classes=classes, preprocessing=backbone.card.preprocessing, record=record), seed
    )


def with_head(model: Artifact, seed: int, *, classes=None) -> Artifact:
    """The same network with another head on the same body."""
    backbone = copy.deepcopy(model.backbone)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in backbone.classifier.layers:
            layer.weight.normal_(generator=generator)
            layer.bias.normal_(generator=generator)
    return replace(model, backbone=backbone, classes=classes or model.classes)


def saved(folder: Path, members: list[Artifact], classes=CLASSES) -> Path:
    record = {"test": {"accuracy": 0.9125, "loss": 0.3, "n": 240}}
    artifact.save_ensemble(folder, members, classes=classes, record=record)
    return folder


def photos(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((90, 70)) for _ in range(count)]


def probabilities(classifier: Classifier, images: list) -> np.ndarray:
    """The classifier's answers in the order of CLASSES. Shapes: (N, K)."""
    answers = [dict(p.top) for p in classifier.predict(images, top=len(CLASSES))]
    return np.array([[answer[name] for name in CLASSES] for answer in answers])


def in_plain_timm(folder: Path, images: list[Image.Image]) -> np.ndarray:
    """The oracle: timm's network, timm's preprocessing, softmax by NumPy, classes by name. Shapes: (N, K)."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
    with torch.no_grad():
        logits = network(torch.stack([transform(image) for image in images])).double().numpy()
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    order = [network.pretrained_cfg["label_names"].index(name) for name in CLASSES]
    return (raised / raised.sum(axis=1, keepdims=True))[:, order]


def stem_calls(classifier: Classifier, images: list) -> int:
    """How often a first convolution ran while the images, one batch, were named."""
    stems = {next(m for m in each.network.modules() if isinstance(m, torch.nn.Conv2d)) for each in classifier.passes}
    calls = []
    hook = torch.nn.modules.module.register_module_forward_hook(lambda m, *_: calls.append(m) if m in stems else None)
    try:
        classifier.predict(images, batch_size=len(images))
    finally:
        hook.remove()
    return len(calls)


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> Path:
    """Three heads on one test_resnet; the last lists its classes in another order. Copied before it is damaged."""
    first = member(1)
    members = [first, with_head(first, 2), with_head(first, 3, classes=("wasp", "ant", "bee"))]
    return saved(tmp_path_factory.mktemp("heads") / "model", members)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """A test_resnet, a network of another kind, size and mean, and a second head on the first."""
    first = member(1)
    other = member(2, "mobilenetv3_small_050", size_px=64, classes=("bee", "wasp", "ant"))
    assert other.preprocessing.mean != first.preprocessing.mean
    return saved(tmp_path_factory.mktemp("mixed") / "model", [first, other, with_head(first, 3)])


@pytest.mark.parametrize("kind", ["heads", "mixed"])
def test_the_answer_is_the_mean_of_what_plain_timm_says_with_each_member(kind, request):
    folder, images = request.getfixturevalue(kind), photos(5)
    expected = np.mean([in_plain_timm(folder / "members" / str(m), images) for m in range(3)], axis=0)
    np.testing.assert_allclose(probabilities(tk.load(folder), images), expected, atol=1e-6)


@pytest.mark.parametrize(("kind", "passes"), [("heads", 1), ("mixed", 2)])
def test_heads_on_one_backbone_take_one_pass_through_it(kind, passes, request):
    classifier = tk.load(request.getfixturevalue(kind))
    assert stem_calls(classifier, photos(4)) == passes == len(classifier.passes)


def test_a_body_that_differs_in_one_statistic_gets_a_pass_of_its_own(tmp_path):
    first, second = member(1), member(1)
    second.backbone.model.bn1.running_mean[0] += 1
    classifier = tk.load(saved(tmp_path / "model", [first, second]))
    assert stem_calls(classifier, photos(1)) == 2
    expected = np.mean([in_plain_timm(tmp_path / "model" / "members" / m, photos(3)) for m in "01"], axis=0)
    np.testing.assert_allclose(probabilities(classifier, photos(3)), expected, atol=1e-6)


def test_equal_bodies_that_see_other_pixels_get_passes_of_their_own(tmp_path):
    first = member(1)
    second = with_head(first, 2)
    dark = replace(second, preprocessing=replace(first.preprocessing, mean=(0.0, 0.0, 0.0)))
    classifier = tk.load(saved(tmp_path / "model", [first, dark]))
    assert len(classifier.passes) == 2
    expected = np.mean([in_plain_timm(tmp_path / "model" / "members" / m, photos(3)) for m in "01"], axis=0)
    np.testing.assert_allclose(probabilities(classifier, photos(3)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "size_px"),
    [
        ("deit_tiny_distilled_patch16_224", 32),
        ("levit_128s", 224),
        ("torchvision:squeezenet1_1", 64),
        ("cifar_resnet", 32),
    ],
)
def test_stacked_heads_give_the_logits_of_each_network_and_leave_it_as_it_was(name, size_px):
    first = member(1, name, size_px=size_px)
    networks = [first.backbone, with_head(first, 2).backbone]
    before = [{key: value.clone() for key, value in n.model.state_dict().items()} for n in networks]
    stacked = stack_heads(networks, orders=[(0, 1, 2), (2, 0, 1)]).eval()
    x = torch.rand(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.cat([networks[0](x), networks[1](x)[:, [2, 0, 1]]], dim=1)
        torch.testing.assert_close(stacked(x), expected, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in stacked.parameters())
    shared = {value.data_ptr() for value in first.backbone.state_dict().values()}
    body = [key for key in before[0] if key.rpartition(".")[0] not in first.backbone.heads]
    assert all(stacked.model.state_dict()[key].data_ptr() in shared for key in body)
    for network, state in zip(networks, before):
        assert all(torch.equal(value, state[key]) for key, value in network.model.state_dict().items())


def test_members_that_share_a_backbone_hold_it_in_memory_once(heads):
    model = artifact.load(heads)
    networks = [m.backbone.model for m in model.members] + [each.network.model for each in model.passes()]
    assert len({n.conv1[0].weight.data_ptr() for n in networks}) == 1
    assert len({n.bn1.running_var.data_ptr() for n in networks}) == 1
    assert len({n.fc.weight.data_ptr() for n in networks}) == 4


def test_the_folder_holds_whole_model_folders_and_a_hash_of_every_file(mixed, tmp_path):
    listed = json.loads((mixed / "MANIFEST.json").read_text())["files"]
    files = {p.relative_to(mixed).as_posix(): p for p in mixed.rglob("*") if p.is_file()}
    assert listed.keys() == files.keys() - {"MANIFEST.json"}
    assert all(listed[name]["sha256"] == sha256(files[name]) for name in listed)
    own = json.loads((mixed / "config.json").read_text())["transferkit"]
    assert (own["format_version"], own["ensemble"], tuple(own["classes"])) == (1, 3, CLASSES)
    alone = tk.load(shutil.copytree(mixed / "members" / "1", tmp_path / "alone"))
    expected = in_plain_timm(mixed / "members" / "1", photos(2))
    np.testing.assert_allclose(probabilities(alone, photos(2)), expected, atol=1e-6)


def test_the_same_ensemble_is_saved_as_the_same_bytes(heads, tmp_path):
    first = member(1)
    again = [first, with_head(first, 2), with_head(first, 3, classes=("wasp", "ant", "bee"))]
    assert (saved(tmp_path / "model", again) / "MANIFEST.json").read_bytes() == (heads / "MANIFEST.json").read_bytes()


def test_a_run_whose_model_is_an_ensemble_is_opened_by_it(heads, tmp_path):
    shutil.copytree(heads, tmp_path / "run" / "model")
    model = artifact.load(tmp_path / "run")
    assert (len(model.members), model.classes) == (3, CLASSES)
    assert model.record["test"]["accuracy"] == 0.9125


def test_the_model_card_tells_what_the_members_are_and_reached(mixed):
    card = (mixed / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["library_name"]) == ("apache-2.0", "transferkit")
    assert "the mean of those of 3 networks" in card
    assert "Passes for an image: 2." in card
    assert "| test | 91.2 % | 240 |" in card
    weights = sum(p.numel() for p in timm.create_model("test_resnet", num_classes=3).parameters())
    assert f"| `members/0` | `test_resnet` | {weights:,} | 32 x 32 | 51.0 % of 40 |" in card
    assert "`members/1` | `mobilenetv3_small_050`" in card
    assert yaml.safe_load((mixed / "members" / "0" / "README.md").read_text().split("---")[1])["library_name"] == "timm"


def test_the_scores_of_each_member_are_those_it_gets_alone(digit_folder, tmp_path):
    classes = tuple(sorted(p.name for p in digit_folder.iterdir()))
    members = [member(seed, "timm:test_resnet", classes=classes) for seed in (1, 2)]
    scores = tk.load(saved(tmp_path / "model", members, classes)).evaluate(digit_folder)
    for number, block in enumerate(scores["members"]):
        alone = tk.load(tmp_path / "model" / "members" / str(number)).evaluate(digit_folder)
        assert "members" not in alone
        assert block["accuracy"] == alone["accuracy"]
        assert block["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert scores["loss"] < np.mean([block["loss"] for block in scores["members"]])  # Jensen's inequality


FILES = ["config.json"] + [
    f"members/{m}/{f}" for m in "02" for f in ("model.safetensors", "config.json", "MANIFEST.json")
]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_and_a_missing_file_are_found_in_any_part(heads, tmp_path, name):
    damaged = shutil.copytree(heads, tmp_path / "model")
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=f"{name} is not the file that was saved"):
        artifact.load(damaged)
    (damaged / name).unlink()
    with pytest.raises(ModelFileError, match=f"{name} is missing"):
        artifact.load(damaged)


def test_a_file_that_the_manifest_does_not_list_and_a_missing_manifest_are_refused(heads, tmp_path):
    damaged = shutil.copytree(heads, tmp_path / "model")
    manifest = json.loads((damaged / "MANIFEST.json").read_text())
    del manifest["files"]["members/1/config.json"]
    (damaged / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match=r"does not list members/1/config\.json"):
        artifact.load(damaged)
    (damaged / "MANIFEST.json").unlink()
    with pytest.raises(ModelFileError, match=r"MANIFEST\.json is missing"):
        artifact.load(damaged)


def test_a_member_exchanged_for_another_whole_model_folder_is_refused(heads, mixed, tmp_path):
    damaged = shutil.copytree(heads, tmp_path / "model")
    shutil.rmtree(damaged / "members" / "1")
    shutil.copytree(mixed / "members" / "2", damaged / "members" / "1")
    with pytest.raises(ModelFileError, match=r"members/1/.* is not the file that was saved"):
        artifact.load(damaged)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ensemble": "2"}, "config.json is refused"),
        ({"ensemble": None}, "config.json is refused"),
        ({"ensemble": -1}, "config.json is refused: an ensemble has at least 2 members, not 0"),
        ({"ensemble": 1}, "config.json is refused: an ensemble has at least 2 members, not 1"),
        ({"ensemble": 10**12}, "does not list members/3/config.json"),
        ({"classes": ["ant", "bee", "fly"]}, "config.json is refused: .* member 0 lacks fly and adds wasp"),
        ({"classes": ["ant", "ant", "bee", "wasp"]}, "config.json.*different names"),
        ({"classes": 3}, "config.json is refused"),
        ({"format_version": 2}, "config.json.*format_version is 2"),
        ({"record": "x"}, "config.json is refused"),
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused_in_one_line(heads, tmp_path, changes, reason):
    damaged = shutil.copytree(heads, tmp_path / "model")
    config = json.loads((damaged / "config.json").read_text())
    config["transferkit"] |= changes
    (damaged / "config.json").write_text(json.dumps(config))
    manifest = json.loads((damaged / "MANIFEST.json").read_text())
    manifest["files"]["config.json"]["sha256"] = sha256(damaged / "config.json")
    (damaged / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match=reason) as caught:
        artifact.load(damaged)
    assert "\n" not in str(caught.value)


@pytest.mark.slow  # of the graph that torch-export has; its heads: test_stacked_heads_give_the_logits...
def test_onnx_gives_the_mean_that_plain_timm_gives(heads, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    classifier = tk.load(heads, device="cpu")
    path = classifier.export("onnx", tmp_path / "m.onnx", images=photos(2), core=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 32, 32]
    expected = np.mean([in_plain_timm(heads / "members" / m, photos(3)) for m in "012"], axis=0)
    np.testing.assert_allclose(session.run(None, {"pixels": pixels(classifier)})[0], expected, atol=1e-5)


@pytest.mark.slow  # as one network does: tests/ship/test_export.py
def test_members_of_two_bodies_and_one_preprocessing_become_one_graph(tmp_path):
    members = [member(seed) for seed in (1, 2)]
    classifier = tk.load(saved(tmp_path / "model", members), device="cpu")
    path = classifier.export("torch-export", tmp_path / "m.pt2", images=photos(2))
    graph = torch.export.load(io.BytesIO(path.read_bytes())).module()
    expected = np.mean([in_plain_timm(tmp_path / "model" / "members" / m, photos(3)) for m in "01"], axis=0)
    np.testing.assert_allclose(graph(torch.from_numpy(pixels(classifier))).numpy(), expected, atol=1e-5)


@pytest.mark.slow
def test_members_that_prepare_photos_in_different_ways_become_one_graph_of_photos(mixed, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    classifier = tk.load(mixed, device="cpu")
    path = classifier.export("onnx", tmp_path / "m.onnx", images=photos(2))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = [session.run(None, {"photos": np.asarray(photo)[None]})[0][0] for photo in photos(3)]
    expected = [dict(each.top) for each in classifier.predict(photos(3), top=len(classifier.classes))]
    for p, one in zip(found, expected):
        np.testing.assert_allclose(p, [one[name] for name in classifier.classes], atol=1e-3)
    with pytest.raises(UsageError, match="prepare images in different ways"):
        classifier.export("onnx", tmp_path / "core.onnx", core=True)


def pixels(classifier: Classifier) -> np.ndarray:
    """What the graph of a classifier takes of three photos. Shapes: (3, 3, H, W) uint8."""
    views = [eval_view(image, classifier.passes[0].preprocessing) for image in photos(3)]
    return np.stack(views).transpose(0, 3, 1, 2).copy()


@pytest.mark.parametrize(
    ("kind", "format", "reason"),
    [
        ("heads", "safetensors", "safetensors holds one network.*members/0"),
        ("heads", "timm", "timm holds one network.*members/0"),
        ("mixed", "torch-export", "prepare images in different ways.*members/0"),
    ],
)
def test_a_format_that_cannot_hold_an_ensemble_names_its_members(kind, format, reason, request, tmp_path):
    classifier = tk.load(request.getfixturevalue(kind), device="cpu")
    with pytest.raises(UsageError, match=reason):
        classifier.export(format, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_joined_models_answer_with_the_mean_in_the_order_of_the_first(mixed, heads, tmp_path):
    joined = tk.ensemble([mixed / "members" / "1", heads / "members" / "0"], tmp_path / "both")
    assert (joined.folder, joined.passes, joined.scores) == (tmp_path / "both", 2, None)
    assert joined.classifier.classes == ("bee", "wasp", "ant")
    expected = np.mean([in_plain_timm(tmp_path / "both" / "members" / m, photos(3)) for m in "01"], axis=0)
    np.testing.assert_allclose(probabilities(joined.classifier, photos(3)), expected, atol=1e-6)


def test_the_data_of_an_ensemble_may_need_a_word_on_its_labels(heads, tmp_path):
    for number, photo in enumerate(photos(6)):
        photo.save(tmp_path / f"{('ant', 'bee', 'wasp')[number % 3]}_{number}.png")
    sources = [heads / "members" / name for name in "01"]
    scores = tk.ensemble(sources, tmp_path / "both", data=tmp_path, label_from="(.*)_").scores
    assert (scores["n"], np.sum(scores["confusion"], axis=1).tolist()) == (6, [2, 2, 2])


def test_what_cannot_be_joined_is_refused_and_nothing_is_written(heads, tmp_path):
    other = member(1, classes=("ant", "bee", "fly"))
    artifact.save(
        tmp_path / "other",
        artifact.Artifact(backbone=other.backbone, classes=other.classes, preprocessing=other.preprocessing, record={}),
    )
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    one = heads / "members" / "0"
    for sources, out, error, reason in (
        ([one], "new", UsageError, "at least two"),
        ([one, tmp_path / "other"], "new", UsageError, "other lacks wasp and adds fly"),
        ([one, heads], "new", UsageError, "an ensemble of 3 itself"),
        ([one, one], "taken", RunConflictError, "exists already"),
        ([one, one], "taken/file", RunConflictError, "exists already"),
        ([one, one], "link", RunConflictError, "exists already"),
    ):
        with pytest.raises(error, match=reason):
            tk.ensemble(sources, tmp_path / out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "other", "taken"]


def test_embedded_networks_are_members_too(tmp_path):
    joined = tk.ensemble(["cifar_resnet", "cifar_resnet"], tmp_path / "both")
    assert joined.passes == 1
    said, alone = (c.predict(photos(1), top=10)[0] for c in (joined.classifier, tk.load("cifar_resnet")))
    assert [name for name, _ in said.top] == [name for name, _ in alone.top]
