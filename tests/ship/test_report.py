"""The report: its numbers are those of the files, it stands alone, and no name in it can be more than text."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support

from transferkit.ship import curves, multi_label_page, report
from transferkit.zoo.errors import UsageError

DRAWS = True  # curves, each time: tests/conftest.py

HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\u202e"


class Page(HTMLParser):
    """The text, tags and attributes of a page as a browser takes them."""

    def __init__(self, path: Path):
        super().__init__()
        self.text, self.tags, self.links = "", [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "data", "action") and value]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += f"{data} "


def line(phase: str, epoch: int, **more) -> dict:
    scores = {"loss": 1 / epoch, "accuracy": 1 - 0.5 / epoch}
    lr = None if phase == "probe" else 1e-3
    return {"epoch": epoch, "phase": phase, "lr": lr, "train": scores, "val": scores, "seconds": 0.1} | more


def make_run(
    run: Path, confusion: np.ndarray, classes: list[str], *, has_test: bool = True, has_curves: bool = False
) -> Path:
    """The files of a run that was judged as `confusion` says; curves take a second to draw."""
    n = int(confusion.sum())
    block = {"accuracy": float(np.trace(confusion) / n), "loss": 0.5, "n": n, "confusion": confusion.tolist()}
    scores = {
        "val": block,
        "test": block if has_test else None,
        "classes": classes,
        "backbone": "resnet10t",
        "strategy": "lp-ft",
    }
    run.mkdir()
    (run / "metrics.json").write_text(
        json.dumps(scores | {"seconds": {"total": 97.0}, "chosen": "probe", "notes": ["The probe was kept."]})
    )
    data = {"images": {"train": 80, "val": 20, "test": n}, "ignored": [[".DS_Store", "system file"]]}
    record = {
        "command": ["/x/bin/transferkit", "finetune", "my photos"],
        "seed": 3,
        "threads": 2,
        "config": {"precision": "bf16/fp32"},
        "versions": {"torch": "2.14"},
    }
    (run / "run.json").write_text(json.dumps(record | {"data": data}))
    lines = [line("probe", k, l2=10.0**-k) for k in (1, 2, 3)] + [line("finetune", k) for k in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines if has_curves))
    with open(run / "quarantine.csv", "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([("path", "reason"), ("bad\udcff.jpg", "truncated")])
    return run


def predictions_of(confusion: np.ndarray, classes: list[str], folder: Path) -> list[tuple[Path, str, str, float]]:
    """One prediction for every count, the files of which do not exist."""
    pairs = [(t, s) for t, row in enumerate(confusion) for s, count in enumerate(row) for _ in range(count)]
    return [(folder / f"{i}.png", classes[t], classes[s], [0.5 + i / 1000]) for i, (t, s) in enumerate(pairs)]


CONFUSION = np.array([[8, 1, 1], [0, 10, 0], [2, 0, 8]])
CLASSES = ["cat", "dog", "emu"]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    folder = tmp_path_factory.mktemp("page")
    run = make_run(folder / "run", CONFUSION, CLASSES, has_curves=True)
    return Page(report.write(run, predictions=predictions_of(CONFUSION, CLASSES, folder)))


def test_the_headline_is_test_accuracy_with_its_wilson_interval(page):
    # 26 of 30: scipy.stats.binomtest(26, 30).proportion_ci(method="wilson") is 0.7032 .. 0.9469
    assert "86.7\u202f%  of 30 test images named correctly" in page.text
    assert "95 % interval 70.3 to 94.7\u202f% (Wilson)" in page.text
    assert "commonest class would score 33.3\u202f%" in page.text


def test_without_a_test_part_the_headline_says_validation_and_warns(tmp_path):
    run = make_run(tmp_path / "run", CONFUSION, CLASSES, has_test=False)
    text = Page(report.write(run, predictions=[])).text
    assert "of 30 validation images named correctly" in text
    assert "There was no test part." in text


def test_the_headline_says_by_how_many_groups_it_is_and_what_the_most_similar_image_would_score(tmp_path):
    run = make_run(tmp_path / "run", CONFUSION, CLASSES)
    scores = json.loads((run / "metrics.json").read_text())
    beside = {"commonest": {"label": "cat", "accuracy": 0.25}, "nearest": {"accuracy": 0.4, "n": 30}}
    scores["test"] |= {"interval": [0.6, 0.99], "groups": 12, "baselines": beside, "macro_f1": 0.8125, "ece": 0.0625}
    (run / "metrics.json").write_text(json.dumps(scores))
    text = Page(report.write(run, predictions=[])).text
    assert "95 % interval 60.0 to 99.0\u202f% (by 12 groups of images)" in text
    assert "commonest class would score 25.0\u202f%, that of the most similar image 40.0\u202f%." in text
    assert re.search(r"Macro F1 +0\.8125 +Log loss +0\.5000 +Calibration error \(ECE\) +0\.0625", text)


def test_recall_and_precision_are_those_of_scikit_learn(page):
    pairs = [(t, s) for t, row in enumerate(CONFUSION) for s, count in enumerate(row) for _ in range(count)]
    precision, recall, f1, _ = precision_recall_fscore_support(*zip(*pairs))
    for k, name in enumerate(CLASSES):
        figures = " +".join(f"{100 * each[k]:.1f}\u202f%" for each in (recall, precision, f1))
        assert re.search(rf"{name} +10 +{figures}", page.text)


def test_it_tells_what_was_trained_what_was_left_out_and_how_to_repeat_it(page):
    tools = "seed 3, threads 2, precision bf16/fp32, torch 2.14"
    for fact in ("resnet10t", "lp-ft", "1 min 37 s", "80 train, 20 val, 30 test", tools):
        assert fact in page.text
    for entry in ("The probe was kept.", "truncated", ".DS_Store", "system file"):
        assert entry in page.text
    assert "transferkit finetune 'my photos'" in page.text
    assert re.search(r"transferkit finetune --config \S+run\.json", page.text)


@pytest.mark.parametrize("program", ["/x/transferkit/__main__.py", "/x/bin/transferkit", r"transferkit.exe"])
def test_the_command_begins_with_transferkit_however_it_was_started(tmp_path, program):
    run = make_run(tmp_path / "run", CONFUSION, CLASSES)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"command": [program, "finetune", "my photos"]}))
    source = report.write(run, predictions=[]).read_text(encoding="utf-8")
    assert "<pre>transferkit finetune &#x27;my photos&#x27;</pre>" in source


def test_a_script_that_calls_the_library_keeps_its_own_name(tmp_path):
    run = make_run(tmp_path / "run", CONFUSION, CLASSES)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"command": ["/home/me/transferkit/train.py", "--fast"]}))
    assert "<pre>train.py --fast</pre>" in report.write(run, predictions=[]).read_text(encoding="utf-8")


@pytest.mark.parametrize("has_test", [True, False])
def test_a_validation_score_over_more_images_than_val_is_said_to_be_out_of_fold(tmp_path, has_test):
    run = make_run(tmp_path / "run", CONFUSION, CLASSES, has_test=has_test)  # 30 judged, 20 in val
    told = "the images of train and val, each judged by a fit without it"
    assert Page(report.write(run, predictions=[])).text.count(told) == 1
    record = json.loads((run / "run.json").read_text())
    record["data"]["images"]["val"] = 30
    (run / "run.json").write_text(json.dumps(record))
    assert told not in Page(report.write(run, predictions=[])).text


@pytest.mark.parametrize(
    ("chosen", "ensemble", "sentence"),
    [
        ("ensemble", 0.9, r"average of all 5 snapshots is kept\. .* gives \+5\.0 points of accuracy \(\+2 of 40 val"),
        ("single", 0.8, r"last snapshot alone is kept\. .* would give -5\.0 points of accuracy \(-2 of 40 val"),
    ],
)
def test_snapshots_are_told_with_what_was_chosen_and_by_how_much(tmp_path, chosen, ensemble, sentence):
    run = make_run(tmp_path / "run", CONFUSION, CLASSES)
    block = {"members": 5, "n": 40, "single": 0.85, "ensemble": ensemble, "loss": {"single": 0.5, "ensemble": 0.25}}
    scores = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(scores | {"snapshots": block | {"chosen": chosen}}))
    text = Page(report.write(run, predictions=[])).text
    assert re.search(sentence, text)
    assert "a calibrated loss of 0.250 in place of 0.500" in text
    assert re.search(
        rf"last snapshot alone +85\.0\u202f% +0\.500 +average of all 5 +{100 * ensemble:.1f}\u202f% +0\.250", text
    )


def test_a_run_without_snapshots_speaks_of_none(page):
    assert "Snapshots " not in page.text


def test_the_page_asks_nothing_of_any_network_and_runs_nothing(page):
    assert page.links
    assert all(link.startswith("data:image/") for link in page.links)
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(page.tags)
    assert page.tags.count("img") == 2  # of the probe and of the epochs; the pictures of the mistakes are gone


def test_hostile_names_stay_text_and_control_characters_become_visible(tmp_path):
    classes = [HOSTILE, "b", "c"]
    run = make_run(tmp_path / HOSTILE.replace("/", "-"), CONFUSION, classes)
    (run / "metrics.jsonl").write_text(json.dumps(line("probe", 1, l2=0.1, network=f"/{HOSTILE}")) + "\n")
    predictions = [(f"{tmp_path}/it\"s <b>'x'.png", HOSTILE, "b", [0.9]), ("half\udcff.png", "b", HOSTILE, [0.8])]
    path = report.write(run, predictions=predictions)
    page, source = Page(path), path.read_text(encoding="utf-8")
    assert "script" not in page.tags
    assert page.tags.count("b") == 2  # the two marks of the headline's scale
    assert "<script>alert(1)</script>\"'&\\x1b[2J\\u202e" in page.text
    assert "the probe of /<script>" in page.text
    for name in ("it\"s <b>'x'.png", "half\\xff.png", "bad\\xff.jpg"):
        assert name in page.text
    assert not [c for c in source if not c.isprintable() and c not in "\n\u202f"]


def test_the_surest_mistakes_come_first_at_most_24_each_a_small_jpeg(tmp_path):
    Image.effect_noise((900, 400), 60).convert("RGB").save(tmp_path / "photo.png")
    run = make_run(tmp_path / "run", CONFUSION, CLASSES)
    wrong = [(tmp_path / "photo.png", "cat", "dog", [p / 100]) for p in range(40, 70)]
    right = [(tmp_path / "photo.png", "cat", "cat", [0.999])]
    path = report.write(run, predictions=[*wrong, *right])
    shown = re.findall(r'class="said">dog (\d+\.\d)', path.read_text(encoding="utf-8"))
    assert shown[:24] == [f"{p}.0" for p in range(69, 45, -1)]
    assert sum(link.startswith("data:image/jpeg") for link in Page(path).links) == 24 + 12
    assert path.stat().st_size < 500_000


def test_a_picture_that_is_gone_or_damaged_is_a_grey_box(tmp_path):
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff nothing")
    run = make_run(tmp_path / "run", CONFUSION, CLASSES)
    wrong = [(tmp_path / name, "cat", "dog", [0.9]) for name in ("damaged.jpg", "gone.jpg")]
    assert Page(report.write(run, predictions=wrong)).text.count("cannot be read") == 4  # as mistakes, and as uncertain


@pytest.mark.parametrize("count", [2, 30, 31, 200])
def test_two_to_two_hundred_classes_fit_as_a_matrix_or_as_the_worst_pairs(tmp_path, count):
    confusion = 5 * np.eye(count, dtype=int)
    confusion[0, 1] = 3
    classes = [f"kind {k}" for k in range(count)]
    text = Page(report.write(make_run(tmp_path / "run", confusion, classes), predictions=[])).text
    if count <= 30:
        assert "A row is a true class" in text
    else:
        assert re.search(r"kind 0 +kind 1 +3 +37\.5\u202f%", text)


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = make_run(tmp_path / "run", CONFUSION, CLASSES, has_curves=True)
    first, again = (report.write(run, predictions=[]).read_bytes() for _ in range(2))
    assert first == again


def test_a_folder_that_is_no_run_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"run\.json"):
        report.write(tmp_path, predictions=[])


def test_the_least_certain_answers_come_first_right_or_wrong_at_most_12(tmp_path):
    run = make_run(tmp_path / "run", CONFUSION, CLASSES)
    answers = [(f"{p}.png", "cat", "cat" if p % 2 else "dog", [p / 100]) for p in range(40, 70)]
    source = report.write(run, predictions=answers).read_text(encoding="utf-8")
    least = source.partition("The least certain answers")[2]
    assert re.findall(r'class="said( right)?">(cat|dog) (\d+)', least) == [
        (" right" if p % 2 else "", "cat" if p % 2 else "dog", str(p)) for p in range(40, 52)
    ]


def test_of_several_labels_the_one_nearest_to_its_threshold_says_how_certain_an_image_is():
    predictions = [
        ("a.png", "cat|dog", "dog", [0.1, 0.9]),
        ("b.png", "", "cat", [0.35, 0.2]),
        ("c.png", "", "", [0, 0.7]),
    ]
    block = {"per_class": [{"threshold": 0.3}, {"threshold": 0.8}]}
    found = multi_label_page.uncertain(predictions, block, ("cat", "dog"))
    assert [(one.about, one.is_right, one.error) for one in found] == [
        ("dog", True, pytest.approx(0.9)),
        ("cat", False, pytest.approx(0.95)),
        ("dog", True, pytest.approx(0.9)),
    ]
    assert found[1].said == "says cat: 35.0\u202f%, threshold 30.0\u202f%"


def test_labels_that_are_missed_and_those_wrongly_said_are_mistakes_the_surest_first(tmp_path):
    predictions = [("a.png", "cat|dog", "dog", [0.1, 0.9]), ("b.png", "", "cat", [0.7, 0.2]), ("c.png", "", "", [0, 0])]
    found, lead = multi_label_page.mistakes(predictions, ("cat", "dog"), part="test")
    assert [(one.said, one.true, one.error) for one in found] == [
        ("misses cat 10.0\u202f%", "is cat, dog", 0.9),
        ("says cat 70.0\u202f%", "is none of the classes", 0.7),
    ]
    assert lead == "On 2 of 3 test images 2 labels are wrong"


def test_only_of_epochs_the_calibrated_loss_is_said_to_decide():
    probe = {"epoch": 0, "phase": "probe", "l2": 0.1, "lr": None}
    scores = {"loss": 0.5, "accuracy": 0.75}
    lines = [probe | {"train": scores, "val": scores}]
    assert "calibrated" not in report._curves(curves.draw(lines, chosen=None))
    lines.append({"epoch": 0, "phase": "finetune", "lr": 1e-3, "train": scores, "val": scores})
    text = report._curves(curves.draw(lines, chosen=None))
    assert "Of epochs it is the calibrated loss" in text
    assert "Of few images strategy auto keeps the last epoch" in text
