"""Fixtures: small real image folders made from scikit-learn's digits, and the shared weights where they are present."""

import gc
import itertools
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.photos import CHANGES, photo
from transferkit.cli.main import GARBAGE

SLOW_SECONDS = 10  # of a test that is not marked slow
SUITE_SECONDS, ALL_TESTS = 720, 3000  # of work, on all cores together, and how many tests make it the whole suite
PICTURES: dict[str, bytes] = {}  # the first that was drawn in each format
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure(config) -> None:
    """Let Ctrl-C interrupt; hide GPUs but from `pytest -m gpu`: the other tests compare bytes, which a CPU repeats."""
    if not re.search(r"(?<!not )\bgpu\b", config.option.markexpr):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    gc.set_threshold(GARBAGE)  # as the command does: half of the suite's time was that
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it in the background; it is inherited
        signal.signal(signal.SIGINT, signal.default_int_handler)


def write_digits(folder: Path, *, classes: tuple[int, ...], per_class: int, size_px: int = 32) -> Path:
    """Write `per_class` digits of each class as PNG files in `folder`/CLASS and return `folder`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for digit in classes:
        (folder / f"digit {digit}").mkdir(parents=True)
        for index, pixels in enumerate(digits.images[digits.target == digit][:per_class]):
            image = Image.fromarray((pixels * 15.9).astype(np.uint8)).resize(
                (size_px, size_px), Image.Resampling.BICUBIC
            )
            image.save(folder / f"digit {digit}" / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory) -> Iterator[None]:
    """What the tests keep is kept apart from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The networks here are too small for two. Imported here: the process that hands tests to others runs none."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def _pictures(request) -> Iterator[None]:
    """The curves of a run are a quarter as wide, and drawn once: 1600 x 2000 pixels take a fifth of a small run's time.

    A module that looks at what is drawn, or compares its bytes, has `DRAWS = True`.
    """
    from transferkit.ship import curves

    drawn = curves._print

    def once(figure, format: str, **options: object) -> bytes:
        if format not in PICTURES:
            PICTURES[format] = drawn(figure, format, **options)
        return PICTURES[format]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "WIDTH_PX", curves.WIDTH_PX // 4)
        if not getattr(request.module, "DRAWS", False):
            patch.setattr(curves, "_print", once)
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Random weights are the same in every run: a test that passes once passes always."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digit_folder(tmp_path_factory) -> Path:
    """Three classes of 24 digits each; read-only by convention."""
    return write_digits(tmp_path_factory.mktemp("data") / "digits", classes=(0, 1, 4), per_class=24)


@pytest.fixture(scope="session")
def two_digits(tmp_path_factory) -> Path:
    """Two classes of 15 digits to train on, and 3 to test; read-only by convention."""
    folder = tmp_path_factory.mktemp("two") / "digits"
    write_digits(folder / "train", classes=(3, 8), per_class=15)
    write_digits(folder / "test", classes=(3, 8), per_class=3)
    return folder


@pytest.fixture(scope="session")
def album(tmp_path_factory):
    """Three classes of 12 photos each, and a changed copy of six of them beside it, at JPEG quality 40."""
    root = tmp_path_factory.mktemp("album")
    for number in range(36):
        image, folder = photo(number), root / "abc"[number % 3]
        folder.mkdir(exist_ok=True)
        image.save(folder / f"{number:02d} photo.jpg", quality=90)
        if number < len(CHANGES):
            change = list(CHANGES.values())[number]
            change(image).save(folder / f"{number:02d} copy.jpg", quality=40)
    return root


@pytest.fixture
def without_albumentations(monkeypatch) -> Iterator[None]:
    """Neither albumentations nor OpenCV can be imported, in this process."""
    from transferkit.data import augment

    found = augment._albumentations, augment.why_missing
    for name in ("albumentations", "cv2"):
        monkeypatch.setitem(sys.modules, name, None)
    for each in found:
        each.cache_clear()
    yield
    for each in found:
        each.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution with a network's weights before those that are installed: a file of these bytes, or none."""
    from transferkit.zoo import packages

    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "weights of packages"))
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, content: bytes | None) -> None:
        package = packages.distribution(name)
        folder = tmp_path / f"{package.replace('-', '_')}-0.1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
        (folder / "RECORD").write_text(f"{name}.pth,,\n" if content else "")
        if content:
            (tmp_path / f"{name}.pth").write_bytes(content)

    return write


@pytest.fixture
def shared() -> Path:
    """The folder of real weights and photos; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared weights and photos are not on this machine")
    return SHARED


def pytest_terminal_summary(terminalreporter, config) -> None:
    """What takes too long and what the fault tests came to: who gathers from workers reads this file alone."""
    if "not slow" in config.option.markexpr:
        _tell_what_takes_long(terminalreporter)
    reports = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    lines = sorted({value for report in reports for name, value in report.user_properties if name == "figure"})
    if lines:
        terminalreporter.section("what the faults came to")
        for line in lines:
            terminalreporter.write_line(line)


def _tell_what_takes_long(terminalreporter) -> None:
    """Tests that are slow and not marked so; of the whole suite, whether it takes longer than it may."""
    spent = Counter()
    for report in itertools.chain(*terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            spent[report.nodeid] += report.duration
    slow = [f"{seconds:.0f} s: {name}" for name, seconds in spent.most_common() if seconds > SLOW_SECONDS]
    if len(spent) > ALL_TESTS and spent.total() > SUITE_SECONDS:
        slow.append(f"all: {spent.total():.0f} s of work, more than the {SUITE_SECONDS} that two cores do in 6 minutes")
    if slow:
        terminalreporter.section("make these cheaper, or mark them slow (CONTRIBUTING.md)")
        for line in slow:
            terminalreporter.write_line(line)
