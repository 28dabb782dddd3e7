"""The same file in two parts or under two labels is never passed over in silence."""

import json
import shutil

import numpy as np
import pytest

import transferkit as tk
from transferkit.data import copies, folder, manifest
from transferkit.messages import seen_words
from transferkit.progress import Progress
from transferkit.tasks import SINGLE_LABEL

TINY = {"backbone": "cifar_resnet", "strategy": "probe", "augment": "none", "l2": 0.01, "precision": "fp32"}


class Heard(Progress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def parted(digits, root, *, copied, fresh):
    """20 training images a class; to test, `copied` copies of these and `fresh` others."""
    for label in ("digit 0", "digit 1"):
        files = sorted((digits / label).glob("*.png"))
        for part in ("train", "test"):
            (root / part / label).mkdir(parents=True)
        for file in files[:20]:
            shutil.copy(file, root / "train" / label)
        for file in files[:copied]:
            shutil.copy(file, root / "test" / label / f"copy {file.name}")
        for file in files[20 : 20 + fresh]:
            shutil.copy(file, root / "test" / label)
    return root


@pytest.fixture(scope="module")
def run(digit_folder, tmp_path_factory):
    root, heard = tmp_path_factory.mktemp("copies"), Heard()
    data = parted(digit_folder, root / "data", copied=4, fresh=3)
    return tk.finetune(data, out=root / "run", progress=heard, **TINY), data, heard.lines


def test_copies_keep_together_and_join_the_groups_they_are_in():
    groups = copies.together(np.array(["x", "y", "", "", "z", ""]), copies.contents(list("aabbcd")))
    assert groups[0] == groups[1]
    assert groups[2] == groups[3] != ""
    assert len({*groups[[0, 2, 4]]}) == 3
    assert groups[5] == ""
    assert copies.together(None, copies.contents(["a", "b"])) is None
    chain = copies.together(np.array(["x", "y", "y", "z"]), copies.contents(list("aabb")))
    assert len({*chain}) == 1


@pytest.mark.parametrize("seed", range(5))
def test_our_own_split_puts_no_copy_on_both_sides(seed):
    random = np.random.default_rng(seed)
    labels, files = random.integers(0, 3, 60), random.integers(0, 25, 60)
    parts = SINGLE_LABEL.assign_parts(
        labels, np.full(60, ""), fraction=0.3, seed=seed, groups=copies.together(None, files)
    )
    assert set(parts) == {"train", "val"}
    assert not copies.seen(parts, files).any()


def test_files_under_two_labels_are_found_with_all_their_rows():
    found = copies.contradictions(np.array([0, 1, 0, 0, 2, 1]), copies.contents(list("abbcab")))
    assert [rows.tolist() for rows in found] == [[0, 4], [1, 2, 5]]
    assert copies.contradictions(np.array([0, 0]), copies.contents(["a", "a"])) == []


def test_what_was_seen_before_is_found_in_each_part():
    parts = np.array(["train", "val", "test", "test", "test", "val"])
    assert copies.seen(parts, copies.contents(list("aaabcb"))).tolist() == [False, True, True, True, False, False]


def test_copied_test_images_are_counted_and_the_score_without_them_is_that_of_the_others(run):
    run, data, lines = run
    scores = run.metrics["test"]
    assert (scores["n"], scores["seen"], scores["unseen"]["n"]) == (14, 8, 6)
    fresh = [p for p in sorted((data / "test").rglob("*.png")) if "copy" not in p.name]
    answers = tk.load(run.folder).predict(fresh)
    assert scores["unseen"]["accuracy"] == np.mean([a.label == p.parent.name for a, p in zip(answers, fresh)])
    assert "8 of 14 test images are copies of training or validation images: test/digit 0/copy 000.png is" in str(lines)
    words = "8 are also training or validation images; without them"
    assert words in seen_words(scores)
    assert words in (run.folder / "report.html").read_text()
    card = (run.folder / "model" / "README.md").read_text()
    assert words in card
    assert "never used" not in card


def test_a_test_part_without_copies_says_nothing_of_them(digit_folder, tmp_path):
    heard = Heard()
    data = parted(digit_folder, tmp_path / "data", copied=0, fresh=3)
    run = tk.finetune(data, out=tmp_path / "run", progress=heard, **TINY)
    assert (run.metrics["test"]["seen"], run.metrics["test"]["unseen"]) == (0, None)
    assert "copies" not in str(heard.lines)
    assert "never used" in (run.folder / "model" / "README.md").read_text()


def test_a_file_under_two_labels_is_said_with_both_names(digit_folder, tmp_path):
    shutil.copytree(digit_folder, tmp_path / "data")
    shutil.copy(tmp_path / "data/digit 0/000.png", tmp_path / "data/digit 1/also.png")
    heard = Heard()
    run = tk.finetune(tmp_path / "data", out=tmp_path / "run", progress=heard, **TINY)
    words = (
        "1 identical file lies under more than one label, and all but one of these are wrong: "
        "digit 0/000.png is digit 1/also.png"
    )
    assert words in heard.lines
    assert words in run.metrics["notes"]
    assert words in (run.folder / "report.html").read_text()
    listing = folder.read(run.folder / "manifest.csv")
    parts = {
        part
        for path, part in zip(listing.paths, listing.parts)
        if path.name in ("also.png",) or "digit 0/000" in str(path)
    }
    assert len(parts) == 1


def test_a_file_with_other_labels_each_time_is_said(tmp_path):
    (tmp_path / "data.csv").write_text("path,labels\na.png,cat\nb.png,\nc.png,cat|dog\n")
    listing = folder.read(tmp_path / "data.csv")
    (line,) = copies.lines(listing, np.array([7, 7, 8]))
    assert line == "1 identical file has other labels each time, and all but one are wrong: a.png is b.png"
    assert not copies.lines(listing, np.array([7, 8, 9]))


def test_of_several_the_first_is_named(tmp_path):
    (tmp_path / "data.csv").write_text("path,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,dog\n")
    listing = folder.read(tmp_path / "data.csv")
    (line,) = copies.contradiction(listing, np.array([7, 8, 7, 8]))
    assert line.startswith("2 identical files lie under more than one label")
    assert line.endswith(": a.png is c.png")
    near = [copies.Pair(row=0, twin=2, kind=copies.NEAR_COPY), copies.Pair(row=1, twin=3, kind=copies.NEAR_COPY)]
    for pairs, words in ((near, "2 photos have"), (near[:1], "1 photo has")):
        expected = f"{words} near copies with other labels: a.png is nearly c.png"
        assert expected in copies.lines(listing, np.arange(4), pairs)


def test_evaluate_says_which_images_its_run_was_fitted_to(run, digit_folder, tmp_path):
    run, data, _ = run
    mine = tk.load(run.folder).evaluate(data, part="train")
    assert (mine["seen"], mine["unseen"], mine["n"]) == (40, None, 40)
    assert "no measure of others" in seen_words(mine)
    every = tk.load(run.folder / "model").evaluate(data, part="test")
    assert (every["seen"], every["unseen"]["n"]) == (8, 6)
    shutil.copytree(run.folder / "model", tmp_path / "alone")
    unknown = tk.load(tmp_path / "alone").evaluate(data, part="test")
    assert (unknown["seen"], unknown["unseen"]) == (0, None)
    shutil.copytree(run.folder, tmp_path / "model")  # a run may be called so, too
    for found in (tmp_path / "model", tmp_path / "model" / "model"):
        assert tk.load(found).evaluate(data, part="test")["seen"] == 8


@pytest.mark.parametrize(
    "text", ["", "path,label\n1,a\n", "bytes,split,sha256\nx,train,y\n", "bytes,split,sha256\n1\n", "\0"]
)
def test_a_manifest_of_something_else_tells_nothing(tmp_path, text):
    (tmp_path / "manifest.csv").write_text(text)
    assert manifest.fitted_by([tmp_path, tmp_path / "missing"]) == {}


def test_scores_are_plain_json(run):
    assert json.loads(json.dumps(run[0].metrics, allow_nan=False)) == run[0].metrics


def test_a_group_that_a_user_calls_file_1_is_not_joined_with_copies_of_a_file():
    groups, contents = np.array(["file 1", "file 1", "", ""]), np.array([3, 4, 1, 1])
    found = copies.together(groups, contents)
    assert found[0] == found[1] != found[2] == found[3]
