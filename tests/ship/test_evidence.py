"""What a report shows beside the scores: drawn from plain blocks, readable as text, and absent where a block is."""

import json
import re
from html.parser import HTMLParser

import pytest

from tests.ship.test_report import CLASSES, CONFUSION, HOSTILE, Page, make_run
from transferkit.ship import evidence, plot, report
from transferkit.zoo.errors import ModelFileError

LINE = [[n, 1 - n**-0.5, 0.98 - n**-0.5, min(1.0, 1.02 - n**-0.5)] for n in (25, 50, 100, 200, 400)]
CURVE = {
    "images": 100,
    "points": [[25, 0.8], [50, 0.86], [80, 0.89]],
    "line": LINE,
    "now": LINE[2],
    "twice": [200, 0.931, 0.9, 0.954],
    "gains": [
        {"label": 2, "images": 30, "gain": 0.021, "interval": [0.004, 0.05]},
        {"label": 0, "images": 40, "gain": 0.001, "interval": [0.0, 0.002]},
    ],
}
BINS = [[0.55, 0.5, 10], [0.75, 0.7, 0], [0.95, 0.9, 40]]
CALIBRATION = {
    "temperature": 1.5,
    "images": 50,
    "before": {"ece": 0.08, "loss": 0.4, "bins": BINS},
    "after": {"ece": 0.02, "loss": 0.3, "bins": BINS},
}
ABSTENTION = {"coverage": [[1.0, 0.9], [0.8, 0.96], [0.5, 1.0]]}
TRIED = {
    "share": 0.4,
    "loss": 0.21,
    "way": [[0.0, 0.3], [0.5, 0.2], [1.0, 0.25]],
    "images": 60,
    "fits": 5,
    "note": "The probe was kept.",
    "gain": 0.05,
    "error": 0.02,
}
BLOCKS = {
    "learning_curve": CURVE,
    "calibration": CALIBRATION,
    "abstention": ABSTENTION,
    "audit": {"lines": ["3 test photos are copies."]},
    "tried": TRIED,
}
TITLES = {
    "learning_curve": "More photos",
    "calibration": "Can the probabilities be believed",
    "abstention": "Knowing when not to answer",
    "audit": "What the images show",
    "tried": "What was tried, and why this one",
}


class Drawing(HTMLParser):
    """The discs of a drawing, and its words."""

    def __init__(self, text: str):
        super().__init__()
        self.discs, self.words, self.labels = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        if tag == "circle":
            self.discs.append(tuple(float(about[name]) for name in ("cx", "cy", "r")))
        if tag == "svg":
            self.labels.append(about["aria-label"])

    def handle_data(self, data):
        self.words.append(data)


def written(tmp_path, **blocks):
    run = make_run(tmp_path / "run", CONFUSION, CLASSES)
    scores = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(scores | blocks))
    return report.write(run, predictions=[])


@pytest.mark.parametrize("name", BLOCKS)
def test_a_section_stands_in_the_report_where_its_block_is_there_and_only_there(tmp_path, name):
    page = Page(written(tmp_path, **{name: BLOCKS[name]}))
    assert [title for title in TITLES.values() if title in page.text] == [TITLES[name]]


def test_all_of_it_is_one_file_without_scripts(tmp_path):
    path = written(tmp_path, **BLOCKS)
    page = Page(path)
    assert page.tags.count("svg") == 4
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert path.stat().st_size < 500_000


@pytest.mark.parametrize(
    "damage",
    [
        {"learning_curve": CURVE | {"line": []}},
        {"calibration": CALIBRATION | {"before": {"ece": 2.0, "bins": []}}},
        {"abstention": {"coverage": [[0.5]]}},
        {"audit": {"lines": [1]}},
        {"tried": TRIED | {"way": None}},
    ],
)
def test_a_block_that_is_none_is_said_to_be_damaged(tmp_path, damage):
    with pytest.raises(ModelFileError, match=r"metrics\.json is damaged"):
        written(tmp_path, **damage)


def test_twice_the_photos_are_told_in_a_sentence_with_the_interval():
    text = re.sub("<[^>]+>", "", evidence.learning_curve(CURVE, CLASSES))
    assert (
        "With twice the photos, 200, about 93\u202f% (90 to 95) by cross-validation, where 100 have about 90\u202f%"
        in text
    )
    assert "emu30+2.1 (0.4 to 5.0)" in text
    assert "cat" not in text  # a tenth of a point is no gain


def test_discs_of_a_reliability_diagram_lie_at_confidence_and_accuracy_and_empty_bins_have_none():
    drawing = Drawing(evidence.reliability(CALIBRATION["before"], "As trained"))
    (x, y, small), (x_2, y_2, large) = drawing.discs
    across, up = plot.WIDTH - plot.LEFT - plot.RIGHT, plot.HEIGHT - plot.TOP - plot.BOTTOM
    assert (x, y) == pytest.approx((plot.LEFT + 0.55 * across, plot.HEIGHT - plot.BOTTOM - 0.5 * up), abs=0.06)
    assert (x_2, y_2) == pytest.approx((plot.LEFT + 0.95 * across, plot.HEIGHT - plot.BOTTOM - 0.9 * up), abs=0.06)
    assert large == pytest.approx(2 * small)  # areas are as 40 to 10
    assert drawing.labels == [
        "As trained: 55.0\u202f% given, 50.0\u202f% of 10 right; 95.0\u202f% given, 90.0\u202f% of 40 right"
    ]


def test_a_point_of_a_learning_curve_lies_on_a_logarithmic_axis():
    drawing = Drawing(evidence.learning_curve(CURVE, CLASSES))
    first, second, _ = (x for x, *_ in drawing.discs)
    across = plot.WIDTH - plot.LEFT - plot.RIGHT
    assert second - first == pytest.approx(across / 4, abs=0.1)  # 25 to 50, of 25 to 400


def test_coverage_says_what_the_surest_four_fifths_reach():
    text = evidence.abstention(ABSTENTION)
    assert "the surest 80.0\u202f% answered: 96.0\u202f% right; all answered: 90.0\u202f% right" in text
    assert evidence.abstention({"coverage": []}) == ""


@pytest.mark.parametrize(
    ("share", "kept"), [(0.0, "the probe"), (0.4, "the weights 40\u202f% of the way"), (1.0, "the fine-tuned network")]
)
def test_what_auto_weighed_is_a_table_that_ends_with_what_is_kept(share, kept):
    text = re.sub("<[^>]+>", "|", evidence.tried(TRIED | {"share": share}))
    assert re.search(rf"kept: {kept}\|+0\.210", text)
    assert ("mean of 5 fits" in text) == (share > 0)
    assert "loses about a tenth less" in text
    assert "tenth" not in evidence.tried(TRIED | {"share": share, "fits": 1})
    assert "gains 0.050 ± 0.020" in text


def test_what_auto_weighed_is_told_once(tmp_path):
    assert "The probe was kept." not in Page(written(tmp_path, tried=TRIED)).text  # the note of the run


def test_words_of_an_audit_and_names_of_classes_stay_text():
    page = evidence.audit({"lines": [HOSTILE]}) + evidence.learning_curve(CURVE, ["a", "b", HOSTILE])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 2


def test_text_of_a_drawing_is_at_least_11_pixels_high_on_a_phone():
    """A page of 390 px leaves 390 - 2 * 16 px of margin - 2 * 11 px of the frame."""
    style = (report.Path(report.__file__).with_name("report.html")).read_text()
    size = float(re.search(r"\.plots svg \{[^}]*font-size: (\d+)px", style)[1])
    assert size * (390 - 54) / plot.WIDTH >= 11
