"""Exports: every format gives PyTorch's answers from raw pixels, says how to use it, and is never half written."""

import inspect
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open

from transferkit.data.source import DecodeError
from transferkit.model.build import Preprocessing, create
from transferkit.ship import exporters
from transferkit.ship.artifact import Artifact, Ensemble
from transferkit.ship.export import export as write
from transferkit.ship.exporters import photo_graph, resampling
from transferkit.ship.exporters.exporter import Agreement, Wanted
from transferkit.ship.exporters.sample import Sample
from transferkit.trust import Sureness, Trust, familiarity
from transferkit.zoo.errors import ParityError, UsageError

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = {"convnet": ("resnet10t", 64), "vit": ("timm:test_vit", 32)}
CLASSES = ("ant", "bee", "wasp")


@pytest.fixture(scope="module", params=NETWORKS)
def model(request) -> Artifact:
    """A small network with random weights, a head that tells images apart, and three classes; one looks twice."""
    name, size_px = NETWORKS[request.param]
    return replace(build(name, size_px=size_px), averages_mirror=request.param == "vit")


def build(name: str, *, size_px: int) -> Artifact:
    torch.manual_seed(0)
    backbone = create(name, num_classes=len(CLASSES), weights="none", image_size=size_px)
    with torch.no_grad():
        backbone.classifier.layers[0].weight.normal_()
    return Artifact(backbone=backbone, classes=CLASSES, preprocessing=backbone.card.preprocessing, record={"seed": 0})


SIDES_PX = ((300, 400), (61, 40), (129, 128), (901, 800), (5, 70))  # the fourth is shrunk before it is resized


def sample(count: int) -> Sample:
    """Coarse photos of several sizes."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)) for _ in range(count)]
    return Sample.of([np.asarray(one.resize((w, h), 3)) for one, (h, w) in zip(coarse, SIDES_PX)])


def views(model: Artifact, count: int) -> torch.Tensor:
    return sample(count).views(model.preprocessing)


def export(model, *, format: str, out: Path, count: int = 3, **options) -> Path:
    """The path of what was written, after a comparison on so many photos."""
    write(model, format=format, out=out, wanted=Wanted(sample=sample(count), **options))
    return out


def normalised(model: Artifact, pixels: torch.Tensor) -> torch.Tensor:
    mean, std = (np.array(v)[:, None, None] for v in (model.preprocessing.mean, model.preprocessing.std))
    return torch.from_numpy(((pixels.numpy() / 255 - mean) / std).astype(np.float32))


def softmax_of_logits(model: Artifact, pixels: torch.Tensor) -> np.ndarray:
    """The oracle: normalisation and softmax by NumPy in double precision, around the network's logits."""
    x = normalised(model, pixels)
    with torch.no_grad():
        logits = model.backbone(x).numpy().astype(np.float64)
        if model.averages_mirror:
            logits = (logits + model.backbone(x.flip(3)).numpy()) / 2
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def in_onnxruntime(path: Path, x: np.ndarray) -> list[np.ndarray]:
    """The outputs, and that nothing else is asked for."""
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    (one,) = session.get_inputs()
    return session.run(None, {one.name: x})


# one graph is made of a network, whatever the format, so each kind of network is tried in one of them each time
@pytest.mark.slow  # the next test says it of a network that knows what is familiar
def test_onnx_gives_pytorchs_probabilities_for_batches_of_one_and_three(model, tmp_path, capfd):
    path = export(model, format="onnx", out=tmp_path / "m.onnx", core=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]
    for count in (1, 3):
        x = views(model, count)
        np.testing.assert_allclose(in_onnxruntime(path, x.numpy())[0], softmax_of_logits(model, x), atol=1e-4)
    assert capfd.readouterr() == ("", "")
    assert str(Path(timm.__file__).parent).encode() not in path.read_bytes()


def knowing(model: Artifact, **changes) -> Artifact:
    """The model with points of sureness and a familiarity that knows five groups."""
    features = np.random.default_rng(0).random((30, model.backbone.num_features), np.float32)
    known = familiarity.learn(features, np.arange(30) % 5, widths=model.backbone.widths)
    trust = Trust(sureness=Sureness(points=((0.9, 0.01), (0.5, 0.2))), familiarity=known)
    return replace(model, trust=trust, **changes)


def margins(model: Artifact, pixels: torch.Tensor) -> np.ndarray:
    """The oracle: familiarity of the network's features of the images as they are."""
    with torch.no_grad():
        return model.trust.familiarity(model.backbone.features(normalised(model, pixels))).numpy()


def test_a_graph_of_photos_gives_what_pytorch_says_of_their_views_and_which_are_familiar(tmp_path, capfd, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = knowing(build("resnet10t", size_px=64), averages_mirror=True)  # which is for the probabilities alone
    path, count = export(model, format="onnx", out=tmp_path / "photos.onnx"), len(SIDES_PX)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", "height", "width", 3]
    photos = [sample(count).photo(number) for number in range(count)]
    found = [session.run(None, {"photos": np.stack([photo, photo])}) for photo in photos]
    assert all(np.array_equal(one, other) for outputs in found for one, other in outputs)
    x = views(model, count)
    np.testing.assert_allclose([p[0] for p, _ in found], softmax_of_logits(model, x), atol=1e-3)
    np.testing.assert_allclose([margin[0] for _, margin in found], margins(model, x), atol=1e-2)
    assert capfd.readouterr() == ("", "")
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == list(CLASSES)
    assert tuple(json.loads(facts["preprocessing"])["size_px"]) == model.preprocessing.size_px
    assert json.loads(facts["sureness_points"]) == [[0.9, 0.01], [0.5, 0.2]]
    assert "below 0" in facts["familiarity"]
    agreed = json.loads(facts["compared_with_transferkit"])
    assert (agreed["images"], agreed["named_the_same"]) == (3, 3)
    assert 0 <= agreed["largest_difference"] < 1e-2

    Image.fromarray(photos[0]).save(tmp_path / "new.jpg", quality=100)
    (code,) = (each for each in on_the_page() if "onnxruntime" in each)
    monkeypatch.chdir(tmp_path)
    exec(code, {})  # noqa: S102
    assert capfd.readouterr().out.split()[0] == CLASSES[softmax_of_logits(model, x)[0].argmax()]


def on_the_page() -> list[str]:
    """The blocks of Python in docs/exports.md."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "exports.md").read_text(), re.DOTALL)


@pytest.mark.slow
def test_openvino_gives_from_photos_what_pytorch_says_of_their_views(tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    model = knowing(build("resnet10t", size_px=64))
    path = export(model, format="openvino", out=tmp_path / "photos_openvino") / "model.xml"
    read = openvino.Core().read_model(path)
    compiled = openvino.compile_model(
        read, "CPU", json.loads(read.get_rt_info(["transferkit", "compile_with"]).astype(str))
    )
    count = len(SIDES_PX)
    found = [compiled(sample(count).photo(number)[None])[0][0] for number in range(count)]
    np.testing.assert_allclose(found, softmax_of_logits(model, views(model, count)), atol=1e-3)
    assert json.loads(read.get_rt_info(["transferkit", "classes"]).astype(str)) == list(CLASSES)

    graph = export(model, format="onnx", out=tmp_path / "photos.onnx")
    opened = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    there = [opened(sample(count).photo(number)[None])[0][0] for number in range(count)]
    np.testing.assert_allclose(there, found, atol=1e-6)

    Image.fromarray(sample(1).photo(0)).save(tmp_path / "new.jpg", format="PNG")
    (code,) = (each for each in on_the_page() if "openvino" in each)
    monkeypatch.chdir(tmp_path)
    exec(code, told := {})  # noqa: S102
    np.testing.assert_allclose(told["probabilities"][0], found[0], atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"interpolation": "bilinear", "crop_pct": 0.95},
        {"crop_mode": "squash"},
        {"crop_mode": "border", "mean": (0.1, 0.5, 0.9)},
        {"size_px": (48, 80)},
    ],
)
def test_photos_are_prepared_in_a_graph_as_everywhere_bit_for_bit(changes, tmp_path):
    pytest.importorskip("onnxruntime")
    preprocessing = Preprocessing(**{"size_px": (64, 64)} | changes)
    kind = ir.TensorType(ir.DataType.UINT8)
    pixels = ir.Value(name="pixels", type=kind, shape=ir.Shape(["batch", 3, *preprocessing.size_px]))
    node = ir.node("Identity", [pixels])
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "seen", kind, pixels.shape
    same = ir.Graph([pixels], node.outputs, nodes=[node], opset_imports={"": 18}, name="same")
    graph = photo_graph.of_photos(ir.to_proto(ir.Model(same, ir_version=9)), [preprocessing])
    (tmp_path / "same.onnx").write_bytes(graph.SerializeToString())
    rng = np.random.default_rng(0)
    for height, width in ((90, 160), (220, 64), (64, 64), (2, 2), (1000, 797), (33, 2200), (767, 900)):
        photo = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((width, height), 3))
        expected = Sample.of([photo]).views(preprocessing).numpy().astype(int)
        np.testing.assert_array_equal(in_onnxruntime(tmp_path / "same.onnx", photo[None])[0], expected)


@pytest.mark.parametrize(
    ("sides_px", "resized_px"),
    [
        ((700, 300), (320, 140)),  # a screenshot: in the other order one value in five is a level away
        ((300, 700), (140, 320)),
        ((1199, 1601), (512, 684)),
        ((3000, 2250), (256, 192)),
        ((40, 30), (333, 17)),
        ((5, 3), (3, 5)),
        ((3, 1), (1, 1)),
        ((1, 1), (16, 33)),
    ],
)
def test_a_photo_is_resized_in_a_graph_as_by_pillow_bit_for_bit(sides_px, resized_px, tmp_path):
    pytest.importorskip("onnxruntime")
    steps = resampling.Steps()
    kind = ir.TensorType(ir.DataType.UINT8)
    photo = ir.Value(name="photo", type=kind, shape=ir.Shape([1, 3, "height", "width"]))
    made = resampling.resized(steps, photo, steps.op("Identity", np.array(resized_px, float)), "bicubic")
    made.type, made.shape = kind, ir.Shape([1, 3, *resized_px])
    tape, opset = steps.tape, {"": 18}
    graph = ir.Graph(
        [photo], [made], nodes=tape.nodes, initializers=tape.initializers, opset_imports=opset, name="resized"
    )
    (tmp_path / "resized.onnx").write_bytes(ir.to_proto(ir.Model(graph, ir_version=9)).SerializeToString())
    pixels = np.random.default_rng(0).integers(0, 256, (*sides_px, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize(resized_px[::-1], Image.Resampling.BICUBIC))
    (found,) = in_onnxruntime(tmp_path / "resized.onnx", pixels.transpose(2, 0, 1)[None])[0]
    np.testing.assert_array_equal(found.transpose(1, 2, 0), expected)


@pytest.mark.slow
def test_a_filter_that_onnx_lacks_is_refused_and_left_out_with_core(tmp_path):
    pytest.importorskip("onnxruntime")
    model = build("resnet10t", size_px=64)
    model = replace(model, preprocessing=replace(model.preprocessing, interpolation="lanczos"))
    with pytest.raises(UsageError, match="ONNX has no lanczos filter; --core"):
        export(model, format="onnx", out=tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_options_of_graphs_are_refused_by_other_formats(tmp_path):
    model = build("resnet10t", size_px=64)
    with pytest.raises(UsageError, match="--core is for onnx, openvino, not for timm"):
        export(model, format="timm", out=tmp_path / "m", core=True)


@pytest.mark.parametrize("model", ["vit", pytest.param("convnet", marks=pytest.mark.slow)], indirect=True)
def test_a_torch_graph_gives_what_pytorch_does_for_batches_of_one_and_three_and_which_are_familiar(model, tmp_path):
    model = knowing(model)
    path = export(model, format="torch-export", out=tmp_path / "m.pt2", count=3)
    extra = {"transferkit.json": ""}
    graph = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra).module()
    for count in (1, 3):
        x = views(model, count)
        probabilities, margin = graph(x)
        np.testing.assert_allclose(probabilities.numpy(), softmax_of_logits(model, x), atol=1e-4)
        np.testing.assert_allclose(margin.numpy(), margins(model, x), atol=1e-4)
    assert json.loads(json.loads(extra["transferkit.json"])["classes"]) == list(CLASSES)


def test_a_timm_folder_opens_in_plain_timm(model, tmp_path):
    path = export(model, format="timm", out=tmp_path / "folder", count=1)
    native = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    x = views(model, 1).float()
    with torch.no_grad():
        assert torch.equal(native(x), model.backbone(x))
    assert "1 of 1 images were named as transferkit names them" in (path / "README.md").read_text()


def test_a_safetensors_file_holds_the_weights_and_what_they_mean(model, tmp_path):
    path = export(model, format="safetensors", out=tmp_path / "m.safetensors", count=1)
    with safe_open(path, "pt") as file:
        own = json.loads(file.metadata()["transferkit"])
        assert all(
            torch.equal(file.get_tensor(name), value) for name, value in model.backbone.model.state_dict().items()
        )
    assert own["classes"] == list(CLASSES)
    assert own["spec"]["architecture"] == model.backbone.spec["architecture"]


def test_an_export_that_answers_otherwise_is_refused_and_leaves_nothing(tmp_path):
    model = build("resnet10t", size_px=64)
    torch.nn.init.constant_(model.backbone.classifier.layers[0].bias, torch.nan)  # no probability equals itself
    with pytest.raises(ParityError, match="nothing was written"):
        export(model, format="torch-export", out=tmp_path / "m.pt2", count=2)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_become_a_graph_is_refused_in_one_line(tmp_path):
    model = build("resnet10t", size_px=64)
    model.backbone.model.register_forward_pre_hook(lambda _, arguments: arguments[0].sum().item() and None)
    with pytest.raises(ParityError, match="resnet10t cannot be exported as torch-export: ") as caught:
        export(model, format="torch-export", out=tmp_path / "m.pt2", count=1)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_cannot_be_read_is_named_as_one_and_no_fault_of_the_network(tmp_path):
    model = build("resnet10t", size_px=64)
    with pytest.raises(DecodeError, match="image 0: not an image"):
        write(model, format="torch-export", out=tmp_path / "m.pt2", wanted=Wanted(sample=Sample.of([b"GIF?"])))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what Python itself puts there to block an import
    model = build("resnet10t", size_px=64)
    with pytest.raises(UsageError, match=r"pip install 'transferkit\[export\]'"):
        export(model, format="onnx", out=tmp_path / "m.onnx", count=1)


def test_wrong_requests_are_usage_errors_and_change_nothing(tmp_path):
    network = create("torchvision:resnet18", num_classes=3, weights="none", image_size=64)
    model = Artifact(backbone=network, classes=CLASSES, preprocessing=network.card.preprocessing, record={})
    (tmp_path / "mine").mkdir()
    for format, out, reason in (
        ("tflite", "m.tflite", f"no export format 'tflite'; known: {', '.join(exporters.names())}"),
        ("timm", "folder", "is no timm network"),
        ("timm", "mine", "exists already"),
        ("safetensors", "mine", "exists already"),
    ):
        with pytest.raises(UsageError, match=reason):
            export(model, format=format, out=tmp_path / out, count=1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]


def test_of_networks_side_by_side_timm_is_offered_each(tmp_path):
    network = create("timm:test_resnet+timm:test_vit", num_classes=3, weights="none")
    model = Artifact(backbone=network, classes=CLASSES, preprocessing=network.card.preprocessing, record={})
    said = "the other formats take it, or export its members one by one: MODEL/members/0 and so on"
    with pytest.raises(UsageError, match=f"is no timm network; {said}$"):
        export(model, format="timm", out=tmp_path / "folder", count=1)


def class_list(name: str) -> exporters.Exporter:
    """An exporter that writes a folder with the classes of a model or an ensemble, and is told to be compared."""

    def write(model, out, *, wanted):
        out.mkdir()
        (out / "classes.txt").write_text(f"{len(wanted.sample)} {' '.join(model.classes)}")
        return Agreement(compared=wanted.sample.words, images=8, same=8, difference=0.0)

    return exporters.Exporter(
        name=name, help="the classes, a word each", write=write, is_folder=True, takes_ensembles=True
    )


def test_a_line_in_the_table_is_all_that_an_exporter_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(exporters, "EXPORTERS", (*exporters.EXPORTERS, class_list("classes")))
    model = build("resnet10t", size_px=64)
    twice = Ensemble(members=(model, model), classes=CLASSES, record={})
    for number, each in enumerate((model, twice)):
        path = export(each, format="classes", out=tmp_path / str(number), count=2)
        assert (path / "classes.txt").read_text() == "2 ant bee wasp"
        for taken in (path, path / "classes.txt"):
            with pytest.raises(UsageError, match="exists already; name a folder that does not"):
                export(each, format="classes", out=taken, count=2)
    with pytest.raises(UsageError, match=f"known: {', '.join(exporters.names())}$"):
        export(model, format="tflite", out=tmp_path / "m", count=1)


def test_the_command_offers_and_uses_every_exporter_in_the_table(tmp_path):
    code = f"""
import sys
from transferkit.ship import exporters
from transferkit.ship.exporters.exporter import Agreement
{inspect.getsource(class_list)}
exporters.EXPORTERS = (*exporters.EXPORTERS, class_list("classes"))
from transferkit.cli.main import run
run(["export", "--help"])
assert not {{"torch", "numpy", "onnx", "onnxruntime"}} & sys.modules.keys()
command = ["export", "cifar_resnet", "--format", "classes", "-o", sys.argv[1]]
assert run(command) == 0
assert run(command) == 2  # a folder is never replaced, so no --overwrite is offered
"""
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    told = " ".join(ended.stdout.split())
    assert f"[{'|'.join(exporters.names())}|classes]" in told
    assert "classes: the classes, a word each." in told
    assert re.search("for timm, .*classes the folder", told)
    assert told.endswith(str(tmp_path / "out"))
    assert "compared with transferkit on noise" in ended.stderr
    assert "exists already; name a folder that does not" in ended.stderr
    assert (tmp_path / "out" / "classes.txt").read_text().startswith("8 airplane")
