"""An image is unlike those trained on where its features lie farther from theirs than theirs from one another."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from transferkit.trust import familiarity

rng = np.random.default_rng(0)
CENTRES = rng.normal(size=(3, 40))


def images(count, centres=CENTRES):
    """Features around centres, as different images of the same few classes give."""
    return (centres[rng.integers(0, len(centres), count)] + 0.5 * rng.normal(size=(count, 40))).astype(np.float32)


def learnt(features, *, widths=(40,), folds=None):
    folds = np.arange(len(features)) % 5 if folds is None else folds
    return familiarity.learn(features, folds, widths=widths)


def margins(known, features):
    return known(torch.from_numpy(features)).numpy()


def test_few_images_like_those_trained_on_are_called_unlike_and_nearly_all_others():
    known = learnt(images(400))
    assert (margins(known, images(2000)) < 0).mean() == pytest.approx(familiarity.FALSE_ALARMS, abs=0.03)
    assert (margins(known, images(500, rng.normal(size=(3, 40)))) < 0).mean() > 0.95


@pytest.mark.parametrize(("count", "width"), [(30, 40), (100, 300), (400, 300)])  # fewer and more than features
def test_the_margin_is_the_mean_cosine_to_the_two_nearest_less_the_limit(count, width):
    spread = rng.normal(size=(40, width)).astype(np.float32)  # of rank 40, so that products have values of 0
    trained, new = images(count) @ spread, images(20) @ spread
    known = learnt(trained, widths=(width,))
    distances, _ = NearestNeighbors(n_neighbors=2, metric="cosine").fit(trained).kneighbors(new)
    assert margins(known, new) == pytest.approx(1 - distances.mean(1) - known.limit, abs=1e-4)


@pytest.mark.parametrize(
    ("count", "width", "directions"),
    [(60, 40, 40), (60, 300, 40), (400, 300, familiarity.RANK)],  # all features; as many as there are; the most
)
def test_features_are_kept_in_the_directions_that_hold_most_of_them(count, width, directions):
    features = images(count)
    if width > 40:
        noise = 0 if directions == 40 else 0.01
        features = features @ rng.normal(size=(40, width)) + noise * rng.normal(size=(count, width))
    basis = learnt(features.astype(np.float32), widths=(width,)).basis
    assert basis.shape == (width, directions)
    assert torch.allclose(basis.T @ basis, torch.eye(directions), atol=1e-4)


def test_features_are_of_length_1_however_many_layers_receive_them():
    known = learnt(images(50), widths=(10, 30))
    assert torch.allclose(known.directions.norm(dim=1), torch.ones(50), atol=1e-5)


def test_the_limit_may_be_below_0_where_folds_have_nothing_in_common():
    one, other = np.eye(40, dtype=np.float32)[0], -np.eye(40, dtype=np.float32)[0]
    known = learnt(np.stack([one] * 10 + [other] * 10), folds=np.repeat([0, 1], 10))
    assert known.limit == pytest.approx(-1)


def test_a_copy_in_the_same_fold_makes_nothing_look_familiar():
    trained = images(60)
    doubled = np.repeat(trained, 2, axis=0)
    folds = np.arange(60) % 5
    assert learnt(doubled, folds=np.repeat(folds, 2)).limit < learnt(doubled, folds=np.arange(120) % 5).limit - 0.05


def test_a_network_with_large_features_does_not_drown_the_one_beside_it():
    trained = images(200)
    scaled = trained * np.where(np.arange(40) < 20, 1000, 1).astype(np.float32)
    both = learnt(scaled, widths=(20, 20))
    foreign = scaled[:50].copy()
    foreign[:, 20:] = rng.normal(size=(50, 20))
    assert (margins(both, foreign) < 0).mean() > 0.8
    assert (margins(learnt(scaled), foreign) < 0).mean() < 0.2


@pytest.mark.parametrize("features", [images(familiarity.LEAST - 1), np.full((20, 40), np.nan, np.float32)])
def test_nothing_is_known_from_too_few_images_or_from_no_numbers(features):
    assert learnt(features) is None


def test_what_is_known_takes_ten_images_and_two_folds():
    features = images(familiarity.LEAST)
    assert learnt(features) is not None
    assert learnt(features, folds=np.arange(len(features)) % 2) is not None
    assert learnt(features, folds=np.zeros(len(features))) is None


def test_features_that_are_all_zero_are_unlike_anything_and_stop_nothing():
    known = learnt(images(100))
    assert margins(known, np.zeros((2, 40), np.float32)).max() < 0
