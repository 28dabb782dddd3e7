"""Graphs of 8-bit integers: smaller, nearly as right, and not written where they are not."""

import json
import shutil

import numpy as np
import pytest

import transferkit as tk
from tests.conftest import write_digits
from transferkit.ship.exporters import onnx as exporters_onnx
from transferkit.ship.exporters import parity, quantisation
from transferkit.ship.exporters.sample import Labelled
from transferkit.zoo.errors import ParityError, UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = write_digits(tmp_path_factory.mktemp("int8") / "digits", classes=(0, 1), per_class=30)
    options = {"backbone": "cifar_resnet", "strategy": "probe", "offline": True}
    return tk.finetune(data, out=str(data.parent / "run"), **options)


def test_the_photos_of_a_run_calibrate_and_judge(run):
    for folder in (run.folder, run.folder / "model"):
        photos = Labelled.of_run(folder)
        paths = {part: {row[0] for row in manifest(run) if row[2] == part} for part in ("train", "val")}
        assert {str(path) for path in photos.train.sources} == paths["train"]
        assert {str(path) for path in photos.judged.sources} == paths["val"]
        assert len(photos.labels) == len(photos.judged)


def manifest(run) -> list[list[str]]:
    return [line.split(",") for line in (run.folder / "manifest.csv").read_text().splitlines()[1:]]


def test_without_the_photos_of_a_run_there_is_nothing_to_calibrate_on(run, tmp_path):
    copied = shutil.copytree(run.folder / "model", tmp_path / "alone")
    with pytest.raises(UsageError, match=r"calibrated on the photos of a run, and .*alone is of none"):
        tk.load(copied).export("onnx", tmp_path / "m.onnx", int8=True)
    gone = shutil.copytree(run.folder, tmp_path / "gone")
    table = (gone / "manifest.csv").read_text()
    (gone / "manifest.csv").write_text(table.replace("digits", "elsewhere"))
    with pytest.raises(UsageError, match=r"--int8 is calibrated on the photos of a run, and those of .*gone are gone"):
        tk.load(gone).export("onnx", tmp_path / "m.onnx", int8=True)
    with pytest.raises(UsageError, match="no option int4 of an export; known: core, int8"):
        tk.load(run.folder).export("onnx", tmp_path / "m.onnx", int4=True)


@pytest.mark.slow
def test_it_is_smaller_takes_photos_and_says_what_it_costs(run, tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    classifier = tk.load(run.folder, device="cpu")
    photos = Labelled.of_run(run.folder).judged
    small = classifier.export("onnx", tmp_path / "small.onnx", images=photos.sources, int8=True)
    large = classifier.export("onnx", tmp_path / "large.onnx", images=photos.sources)
    assert small.stat().st_size < large.stat().st_size / 2
    session = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["compared_with_transferkit"])
    assert facts["accuracy_float"] == pytest.approx(run.metrics["val"]["accuracy"], abs=0.1)
    assert facts["accuracy"] >= facts["accuracy_float"] - max(0.01, 1 / len(photos))
    found = [session.run(None, {"photos": photos.photo(n)[None]}) for n in range(len(photos))]
    expected = [dict(each.top) for each in classifier.predict(photos.sources, top=2)]
    same = [
        np.argmax(p[0]) == np.argmax([one[name] for name in classifier.classes]) for (p, _), one in zip(found, expected)
    ]
    assert np.mean(same) > 0.9

    monkeypatch.setattr(quantisation, "MAX_LOSS", -2.0)
    monkeypatch.setattr(quantisation, "ONE_PHOTO", -2.0)
    with pytest.raises(ParityError, match=r"in 8-bit integers .* judged photos are named right.*nothing was written"):
        classifier.export("onnx", tmp_path / "worse.onnx", images=photos.sources, int8=True)
    assert not (tmp_path / "worse.onnx").exists()


@pytest.mark.slow
def test_more_of_the_first_layers_stay_in_floats_where_less_loses_accuracy(run, monkeypatch):
    pytest.importorskip("onnxruntime")
    tried = []

    def session(graph):
        tried.append(sum(node.op_type == "DequantizeLinear" for node in graph.graph.node))
        honest = exporters_onnx.session(graph)
        return honest if len(tried) == 2 else lambda *views: [1 - honest(*views)[0]]

    monkeypatch.setattr(quantisation, "FIRST", (2, 6, 9))
    model = parity.joined(tk.load(run.folder, device="cpu").artifact, format="onnx")
    small = quantisation.quantised(exporters_onnx.core(model), model, Labelled.of_run(run.folder), session=session)
    assert len(tried) == 2
    assert tried[1] < tried[0]
    assert sum(node.op_type == "DequantizeLinear" for node in small.graph.graph.node) == tried[1]
