"""When features are written while they are computed, and what becomes of the pieces."""

import numpy as np
import pytest

import transferkit as tk
from transferkit.data.photos import Decoding, Photos
from transferkit.model.feature_cache import FeatureCache, key_of
from transferkit.model.features import Extractor, Features
from transferkit.train import keeping

HASHES = np.array([f"{row:064x}" for row in range(50)])
FEATURES = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)


@pytest.fixture
def clock(monkeypatch):
    """A list with the seconds that it is."""
    seconds = [100.0]
    monkeypatch.setattr(keeping.time, "monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def kept(tmp_path, clock):
    """Keeps features of one view; the files that are there."""
    model = tk.zoo.create("timm:test_resnet", weights="none", num_classes=2, image_size=32)
    cache = FeatureCache(tmp_path, key_of(model, weights="0" * 64, pixels={}, device="cpu"))
    extractor, photos = Extractor(model=model, views=1, cache=cache), Photos(Decoding(384), workers=0)
    made = keeping.Keeping(extractor, photos, Features(views=(FEATURES,)), hashes=HASHES, fitted=np.ones(50, bool))
    return made, photos, cache, lambda: sorted(map(str, tmp_path.rglob("*.safetensors")))


def found(cache, rows):
    return cache.get("plain-fp32", HASHES[rows].tolist(), width=4)


def test_a_file_is_written_when_twenty_seconds_have_passed_since_the_last_and_holds_what_came_since(kept, clock):
    made, _, cache, files = kept
    for second, count in ((110, 0), (119.9, 0), (120, 1), (125, 1), (139.9, 1), (140, 2)):
        clock[0] = second
        made.computed(np.arange(5) + int(second) - 110)
        assert len(files()) == count, second
    assert sorted(made.pieces) == files()
    there = sorted({row for second in (110, 119, 120, 125, 139, 140) for row in range(second - 110, second - 105)})
    assert np.array_equal(found(cache, there), FEATURES[there])


def test_an_image_whose_depth_is_not_known_yet_is_not_kept(kept):
    made, photos, cache, _ = kept
    photos.largest[HASHES[1]] = 4095
    made.computed(np.array([0, 1, 2]))
    made.keep()
    assert np.isnan(found(cache, [0, 1, 2])[:, 0]).tolist() == [False, True, False]


def test_one_file_takes_the_place_of_the_pieces(kept):
    made, _, cache, files = kept
    for rows in (np.array([0, 1]), np.array([2])):
        made.computed(rows)
        made.keep()
    assert len(files()) == 2
    made.merge(np.arange(3), made.pieces)
    (merged,) = files()
    assert merged not in made.pieces
    assert np.array_equal(found(cache, [0, 1, 2]), FEATURES[:3])
    made.merge(np.arange(3), [merged, merged + " that is gone"])
    assert files() == [merged]  # one of the same content is not taken for a piece of itself


def test_pieces_stay_where_their_merging_was_not_written_and_go_where_nothing_is_left_of_them(kept, monkeypatch):
    made, _, cache, files = kept
    made.computed(np.array([0, 1]))
    made.keep()
    monkeypatch.setattr(type(cache), "add", lambda *given: None)
    made.merge(np.array([0, 1]), made.pieces)
    assert files() == made.pieces
    made.merge(np.empty(0, np.int64), made.pieces)
    assert files() == []
