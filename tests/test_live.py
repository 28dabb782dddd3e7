"""What a call from Python shows by itself: the live line in a notebook, elsewhere warnings of what is left out."""

import shutil
import warnings
from pathlib import Path

import pytest

import transferkit as tk
from transferkit import live
from transferkit.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
CELL = """
import sys, time
from transferkit import live
progress = live.here()
progress.say("9 images \\x1b]0;a\\x07")
progress.start("reading", 9)
for _ in range(9):
    progress.advance(1)
    time.sleep(0.05)
progress.note("val loss 0.5")
progress.leave_out(["left out: a.png: empty file"])
progress.start("fitting", 4)
progress.advance(4)
progress.finish()
assert "ipywidgets" not in sys.modules and "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def spoilt(digit_folder, tmp_path_factory):
    """Digits beside a photo that is none and a file that is in no class."""
    folder = tmp_path_factory.mktemp("spoilt") / "digits"
    shutil.copytree(digit_folder, folder)
    (folder / "digit 0" / "bad.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("a loose file")
    return folder


def test_a_call_that_shows_nothing_warns_once_of_what_it_leaves_out(spoilt, tmp_path, capsys):
    options = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "strategy": "probe", "l2": 0.01}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = tk.finetune(spoilt, out=str(tmp_path / "r"), **options)
    assert [str(each.message).split(": ")[:2] for each in caught] == [
        ["ignored", "notes.txt"],
        ["left out", "digit 0/bad.png"],
    ]
    assert {each.filename for each in caught} == {__file__}
    with pytest.warns(UserWarning, match="bad.png: not an image") as caught:
        run.classifier.evaluate(spoilt, part="all")
    assert [each.filename for each in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.classifier.evaluate(spoilt, part="all", progress=Progress())
    assert capsys.readouterr().out == ""


def test_where_there_is_no_kernel_there_is_no_live_line():
    assert type(live.here()) is live.WarningProgress


def test_a_notebook_shows_the_line_of_the_terminal_and_redraws_it(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    shown = [output.get("text") or output["data"]["text/plain"] for output in notebook.cells[0].outputs]
    first, reading, left, fitting = shown
    assert first == "9 images \\x1b]0;a\\x07\n"
    assert reading.split()[:2] == ["reading", "100%"]
    assert reading.endswith("val loss 0.5")
    assert "images/s" in reading
    assert left == "left out: a.png: empty file\n"
    assert fitting.split()[:2] == ["fitting", "100%"]
