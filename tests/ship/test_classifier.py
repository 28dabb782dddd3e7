import numpy as np
import pytest
from PIL import Image

import transferkit as tk
from transferkit.ship.classifier import Prediction


@pytest.fixture(scope="module")
def classifier(digit_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "r"
    options = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "probe"}
    return tk.finetune(digit_folder, out=str(out), **options).classifier


def test_a_path_its_bytes_its_pixels_and_its_image_get_the_same_answer(classifier, digit_folder):
    path = sorted(digit_folder.rglob("*.png"))[5]
    image = Image.open(path)
    sources = [path, str(path), path.read_bytes(), np.asarray(image), image]
    answers = {(p.label, round(p.probability, 6)) for p in classifier.predict(sources)}
    assert len(answers) == 1


def test_an_unreadable_source_is_answered_in_its_place_and_stops_nothing(classifier, digit_folder, tmp_path):
    good = sorted(digit_folder.rglob("*.png"))[0]
    predictions = classifier.predict([good, b"", tmp_path / "missing.jpg", good])
    assert [p.fault for p in predictions] == [None, "empty file", "no such file or directory", None]
    assert predictions[1] == Prediction(source=b"", fault="empty file")
    assert predictions[0].label == predictions[3].label


def test_a_stream_is_read_a_batch_at_a_time(classifier, digit_folder):
    path = sorted(digit_folder.rglob("*.png"))[0]
    taken = []

    def endless():
        while True:
            taken.append(path)
            yield path

    stream = classifier.stream(endless(), batch_size=4)
    assert next(stream).label in classifier.classes
    assert len(taken) == 4
    stream.close()


def test_a_single_source_needs_no_list(classifier, digit_folder):
    path = sorted(digit_folder.rglob("*.png"))[0]
    assert classifier.predict(path) == classifier.predict([path])


def test_top_lists_classes_by_probability(classifier, digit_folder):
    (prediction,) = classifier.predict(sorted(digit_folder.rglob("*.png"))[0], top=9)
    probabilities = [p for _, p in prediction.top]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {label for label, _ in prediction.top} == set(classifier.classes)


def test_batches_of_any_size_give_the_same_answers(classifier, digit_folder):
    paths = sorted(digit_folder.rglob("*.png"))[:7]
    one, all_at_once = classifier.predict(paths, batch_size=1), classifier.predict(paths)
    assert [p.label for p in one] == [p.label for p in all_at_once]
    assert np.allclose([p.probability for p in one], [p.probability for p in all_at_once], atol=1e-6)
