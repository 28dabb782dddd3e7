"""A first pass that is killed has lost its last seconds alone."""

import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import transferkit as tk
from tests.conftest import write_digits
from tests.faults.conftest import environment
from transferkit.data import folder
from transferkit.data.known import Known
from transferkit.data.photos import Decoding, Photos
from transferkit.model.feature_cache import FeatureCache, key_of, weights_hash
from transferkit.model.features import Extractor
from transferkit.progress import Progress
from transferkit.train import keeping
from transferkit.train.first_pass import Reader, read_images
from transferkit.zoo.errors import StoppedError


class Listening(Progress):
    """Stops after so many images; keeps what was said."""

    def __init__(self, most: int = 10**9):
        self.most, self.done, self.said = most, 0, []

    def advance(self, count=1):
        self.done += count
        if self.done >= self.most:
            raise StoppedError("stopped by SIGTERM")

    def say(self, line):
        self.said.append(line)


@pytest.fixture
def read(tmp_path, photos, monkeypatch):
    """Reads the photos, in batches of 32; the images, what was said, and the files that are kept."""
    monkeypatch.setattr("transferkit.data.known.MARGIN_NS", -(10**18))  # the photos are from a moment ago
    shutil.copytree(photos, tmp_path / "images")
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2, image_size=32)

    def read(cache: str, most: int = 10**9):
        store = Photos(Decoding(384), workers=0, index=Known(tmp_path / cache / "known.sqlite"))
        cached = FeatureCache(tmp_path / cache, key_of(model, weights=weights_hash(model), pixels={}, device="cpu"))
        reader = Reader(
            photos=store,
            preprocessing=model.card.preprocessing,
            device="cpu",
            extractor=Extractor(model=model, cache=cached),
        )
        progress = Listening(most)
        taken = read_images(folder.read(tmp_path / "images"), reader, progress=progress)
        return taken, progress, sorted((tmp_path / cache / "features").rglob("*.safetensors"))

    return read


@pytest.mark.parametrize("seconds", [0.0, 20.0])
def test_a_pass_that_is_stopped_is_taken_up_where_it_was_and_has_every_bit_of_one_that_was_not(
    read, monkeypatch, seconds
):
    monkeypatch.setattr(keeping, "EVERY_SECONDS", seconds)
    whole, _, files = read("whole")
    assert len(files) == 2  # one a view: what was written on the way is merged
    with pytest.raises(StoppedError):
        read("cut", most=32)
    again, progress, _ = read("cut")
    assert progress.said == ["features of 32 images are kept from earlier runs"]
    assert progress.done == 8
    for one, other in zip(whole.features.views, again.features.views):
        assert np.array_equal(one, other)
    assert whole.sha256 == again.sha256


def test_no_file_is_kept_twice_and_a_merge_without_room_loses_nothing(read, monkeypatch):
    monkeypatch.setattr(keeping, "EVERY_SECONDS", 0.0)
    added = FeatureCache.add
    monkeypatch.setattr(FeatureCache, "add", lambda *given: added(*given) if len(given[2]) < 40 else None)
    read("full")
    again, progress, _ = read("full")
    assert progress.done == 0
    assert again.features is not None


@pytest.mark.faults
def test_a_run_killed_in_its_first_pass_computes_only_what_is_missing(command, tmp_path, figure):
    data = write_digits(tmp_path / "many", classes=(0, 1, 2, 3), per_class=170)
    time.sleep(3.5)  # a file is trusted when its last change is 3 s old
    words = ["finetune", str(data), "-o", "r", "--strategy", "probe", "--backbone", "timm:test_vit", "--offline"]
    words += ["--weights", "none", "--image-size", "160", "--cache-dir", "cache", "--workers", "0"]
    code = (
        "import sys; from transferkit.train import keeping; from transferkit.cli.main import main\n"
        "keeping.EVERY_SECONDS = 0.1; sys.argv = ['transferkit', *sys.argv[1:]]; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=tmp_path, env=environment())
    try:
        while not [*(tmp_path / "cache").rglob("mirrored*.safetensors")] and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    done = command(*words)
    assert done.returncode == 0, done.stderr
    kept = int(re.search(r"features of ([\d,]+) images are kept", done.stderr)[1])
    assert 0 < kept < 680
    figure(f"first pass killed: the features of {kept} of 680 images are kept, every 0.1 s here, 20 s in use")
