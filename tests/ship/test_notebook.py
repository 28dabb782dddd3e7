"""What a notebook shows: a run's summary and a photo with bars, alone in light and dark, whatever the photo came as."""

import io
import webbrowser
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

import transferkit as tk
from transferkit.cli.main import run as cli
from transferkit.ship.prediction import Prediction

HOSTILE = "<script>alert(1)</script>\"'\x1b[2J"


class Page(HTMLParser):
    """The text and the pictures of some HTML, which loads nothing and runs nothing."""

    def __init__(self, html: str):
        super().__init__()
        self.text, self.pictures = "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        assert tag in {"div", "table", "tr", "td", "th", "span", "img"}, tag
        assert {name for name, _ in attrs} <= {"style", "src", "alt"}
        self.pictures += [value for name, value in attrs if name == "src"]

    def handle_data(self, data):
        self.text += f"{data} "


@pytest.fixture(scope="module")
def run(digit_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "r"
    options = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "probe", "l2": 0.01}
    return tk.finetune(digit_folder, out=str(out), **options)


def test_a_run_shows_its_scores_and_where_its_report_lies(run):
    page = Page(run._repr_html_())
    for words in (str(run.folder / "report.html"), "test_resnet", "nearest neighbour", "digit 0, digit 1, digit 4"):
        assert words in page.text
    assert f"{100 * run.metrics['val']['accuracy']:.1f} % of 72 images right" in page.text


def test_a_prediction_shows_the_photo_and_a_bar_for_each_class_whatever_it_came_as(run, digit_folder):
    path = sorted(digit_folder.rglob("*.png"))[5]
    data, pixels = path.read_bytes(), np.array(Image.open(path).convert("RGB"))
    sources = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), pixels, pixels[..., :1]]
    sources += [torch.from_numpy(pixels), torch.from_numpy(pixels).permute(2, 0, 1), Image.open(path), Image.open(path)]
    pages = [Page(each._repr_html_()) for each in run.classifier.predict(sources, top=3)]
    assert len({page.pictures[0] for page in pages}) == 1
    for page in pages:
        assert page.pictures[0].startswith("data:image/jpeg;base64,")
        assert all(name in page.text for name in run.classifier.classes)
    assert path.name in pages[0].text
    assert "ndarray of 32 x 32 x 3" in pages[6].text


def test_names_are_text_and_what_cannot_be_read_is_said(tmp_path):
    bad = Prediction(source=f"{HOSTILE}.png", fault=f"not an image {HOSTILE}")
    page = Page(bad._repr_html_())
    assert "unreadable: not an image <script>" in page.text
    assert "\x1b" not in page.text
    assert not page.pictures
    named = {"label": HOSTILE, "probability": 1.0, "labels": ((HOSTILE, 1.0),), "top": ((HOSTILE, 1.0),)}
    gone = Prediction(source=tmp_path / "gone.png", **named)
    assert "cannot be read" in Page(gone._repr_html_()).text
    closed = io.BytesIO(b"")
    closed.close()
    assert "cannot be read" in Page(Prediction(source=closed, **named)._repr_html_()).text
    several = Prediction(source=np.zeros((2, 900), np.uint8), labels=())
    assert "none" in Page(several._repr_html_()).text


@pytest.fixture
def browsers(monkeypatch):
    """A standard library that has not looked for browsers yet, on a machine where no other is found."""
    monkeypatch.setattr(webbrowser, "_tryorder", None)
    monkeypatch.setattr(webbrowser, "_browsers", {})
    monkeypatch.setenv("PATH", "/nowhere")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)


def test_the_report_is_opened_in_the_browser(run, tmp_path, browsers, monkeypatch, capsys):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    assert cli(["report", str(run.folder), "--open"]) == 0
    assert capsys.readouterr().out.strip() == str(run.folder / "report.html")
    assert (tmp_path / "opened").read_text().strip() == (run.folder / "report.html").resolve().as_uri()


def test_where_there_is_no_browser_the_place_of_the_report_is_said(run, browsers, capsys):
    assert cli(["report", str(run.folder), "--open"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(run.folder / "report.html")
    assert "no browser was found" in err


def test_the_list_of_the_zoo_is_a_table_and_the_same_list(capsys):
    cards = tk.zoo.cards()
    page = Page(cards._repr_html_())
    assert cli(["zoo", "list"]) == 0
    for line in capsys.readouterr().out.split("\n\n")[0].splitlines():
        assert all(word in page.text for word in line.split("  "))
    assert [card.name for card in cards] == [card.name for card in list(cards)]
    assert cards == list(cards)
    cards.append(replace(cards[0], name=HOSTILE))
    page = Page(cards._repr_html_())
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text
