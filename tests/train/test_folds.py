"""auto of few images: fits to all but a part of them, which judges it, and the mean of their weights."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import transferkit as tk
from tests.conftest import write_digits
from tests.train.test_fitted import TINY, fit, one_l2, weights  # noqa: F401 (a fixture)
from tests.train.test_told import Told
from transferkit import metrics
from transferkit.train import descent, folds, state, wise_ft
from transferkit.train.deadline import Deadline
from transferkit.train.descent import Descent
from transferkit.train.strategies.lp_ft import from_probe
from transferkit.trust import calibration
from transferkit.zoo.errors import DivergedError

AUTO = {"strategy": "auto", "epochs": 1, "lr": 0.01}


@pytest.fixture
def heard(monkeypatch):
    """The rows of each fit after the first, and the ways that were mixed."""
    fits, mixed, repeat, find = [], [], descent.repeat, wise_ft.find

    def repeated(network, optimizer, loader, examples, context):
        fits.append(examples.rows)
        return repeat(network, optimizer, loader, examples, context)

    def found(problem, mode, ways):
        mixed.append(ways)
        return find(problem, mode, ways)

    monkeypatch.setattr(descent, "repeat", repeated)
    monkeypatch.setattr(wise_ft, "find", found)
    return fits, mixed


def test_each_image_judges_the_fit_that_has_not_seen_it(two_digits, tmp_path, monkeypatch, heard):
    weighed = []
    monkeypatch.setattr(wise_ft, "_posterior_mean", lambda losses: weighed.append(losses) or 0.5)
    monkeypatch.setattr(metrics, "is_better", lambda *losses: False)  # no ridge is seen
    monkeypatch.setattr(wise_ft, "_is_worse", lambda *given: False)
    problem, found, _ = fit(two_digits, tmp_path, **AUTO)
    fits, (ways,) = heard
    everything = np.sort(np.concatenate([problem.train.rows, problem.val.rows]))
    assert found.rows.tolist() == everything.tolist() == np.sort(np.concatenate([way.rows for way in ways])).tolist()
    assert ways[0].rows.tolist() == problem.val.rows.tolist()
    assert len(fits) == len(ways) - 1 == 4
    for rows, way in zip(fits, ways[1:]):
        assert sorted([*rows, *way.rows]) == everything.tolist()
    sizes = [len(way.rows) for way in ways]
    assert max(sizes) - min(sizes) <= 1
    (soup,) = weights([problem.model])
    (of_mean,), (judged,), own, seen = found.predict(everything), found.logits, {}, []
    for way, after in zip(ways, [*ways[1:], ways[0]]):
        problem.network.load_state_dict(wise_ft.between(way.start, way.end, 0.5))
        own |= dict(zip(way.rows.tolist(), *found.predict(way.rows)))
        seen.append(*found.predict(after.rows))
    factor = (of_mean - of_mean.mean(0)).std() / (np.concatenate(seen) - np.concatenate(seen).mean(0)).std()
    assert 0 < factor < 0.5  # they lie far apart here, and their mean is unsure
    assert np.allclose(factor * np.array([own[row] for row in everything]), judged, atol=1e-4)
    for name in ("model.conv1.0.weight", "model.fc.weight"):
        mean = torch.stack([wise_ft.between(way.start, way.end, 0.5)[name] for way in ways]).mean(0)
        torch.testing.assert_close(soup[name], mean)
    n = len(everything)
    assert found.judged == f"each of the {n} training and validation images, by one of 5 fits that has not seen it"
    assert f" on the {n} training and validation images; " in found.notes[0]
    assert found.notes[1] == "epochs of each fit: 1"
    assert found.tried["note"] == found.notes[0]
    assert ", ".join(f"{loss:.3f}" for _, loss in found.tried["way"]) in found.notes[0]
    way = np.array([loss for _, loss in found.tried["way"]])
    assert np.allclose(weighed[0].mean(1), way * [1, 0.9, 0.9, 0.9, 0.9, 0.9])  # the mean of fits is better than each
    assert found.notes[0].endswith(", and the mean of the fits about 10 % of the loss more")
    losses = calibration.losses(found.logits[0], problem.val.labels[found.rows], problem.val.task)
    assert (found.tried["share"], found.tried["fits"]) == (0.5, 5)
    assert found.tried["loss"] == pytest.approx(losses.mean(), abs=0.05)  # found before they were made smaller


@pytest.mark.slow  # the others say that each image judges a fit that has not seen it
def test_the_head_of_a_fit_begins_with_the_probe_of_its_own_images(two_digits, tmp_path, heard):
    fit(two_digits, tmp_path, **AUTO)
    _, (ways, *_) = heard
    heads = [way.start["model.fc.weight"] for way in ways]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(heads, 2))
    assert all(way.start["model.conv1.0.weight"] is ways[0].start["model.conv1.0.weight"] for way in ways)


def test_images_of_a_group_judge_together(two_digits, tmp_path):
    problem, _, _ = fit(two_digits, tmp_path, strategy="lp-ft", epochs=1)
    names = np.full(len(problem.train.labels), "", "<U4")
    names[problem.train.rows[:6]] = "six"
    grouped = type(problem)(**{**vars(problem), "groups": names})
    found, mode, _ = from_probe(grouped)
    first = wise_ft.Way(start=state.snapshot(grouped.network), end={}, rows=grouped.val.rows)
    ways = folds._others(grouped, mode, found, first, epochs=1)
    assert sorted(np.isin(problem.train.rows[:6], way.rows).sum() for way in ways) == [0, 0, 0, 6]


def test_of_many_images_and_of_classes_of_one_nothing_more_is_fitted(two_digits, tmp_path, monkeypatch, heard):
    monkeypatch.setattr(wise_ft, "_posterior_mean", lambda losses: 1.0)
    single = write_digits(tmp_path / "d" / "train", classes=(3, 8), per_class=6).parent
    for path in sorted((single / "train" / "digit 8").iterdir())[2:]:
        path.unlink()
    fit(single, tmp_path, **AUTO)
    monkeypatch.setattr("transferkit.train.problem.REFIT_IMAGES", 29)
    problem, found, _ = fit(two_digits, tmp_path, **AUTO)
    assert found.rows.tolist() == problem.val.rows.tolist()
    assert all(len(ways) == 1 for ways in heard[1])


@pytest.fixture(scope="module")
def alone(two_digits, tmp_path_factory):
    """The weights of the first fit, with no others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wise_ft, "_posterior_mean", lambda losses: 1.0)
        patch.setattr(folds, "mixture", lambda *given: None)
        problem, _, _ = fit(two_digits, tmp_path_factory.mktemp("cache"), **AUTO)
    return weights([problem.model])[0]


@pytest.mark.parametrize("what", ["a fit that diverges", "a mean that knows nothing"])
def test_what_does_not_mix_leaves_the_first_fit(two_digits, alone, tmp_path, monkeypatch, what):
    monkeypatch.setattr(wise_ft, "_posterior_mean", lambda losses: 1.0)
    if what == "a fit that diverges":
        count, repeat = iter(range(99)), descent.repeat

        def repeated(*given):
            if next(count) == 1:
                raise DivergedError("the loss is nan")
            return repeat(*given)

        monkeypatch.setattr(descent, "repeat", repeated)
    else:
        monkeypatch.setattr(wise_ft, "_is_worse", lambda *given: True)
    problem, found, _ = fit(two_digits, tmp_path, **AUTO)
    (found_alone,) = weights([problem.model])
    assert all(torch.equal(alone[name], found_alone[name]) for name in alone)
    assert found.rows.tolist() == problem.val.rows.tolist()


def test_a_mean_is_worse_where_it_knows_clearly_less_of_what_was_seen(two_digits, tmp_path):
    problem, _, _ = fit(two_digits, tmp_path, strategy="probe")
    rows, labels = problem.train.rows, problem.train.labels[problem.train.rows]
    unseen = np.linspace(0.2, 0.4, len(rows)).astype(np.float32)
    known = 5.0 * np.eye(2, dtype=np.float32)[labels]
    assert wise_ft._is_worse(problem, -known, rows, unseen)
    assert not wise_ft._is_worse(problem, known, rows, unseen)


@pytest.mark.slow
def test_averages_over_mirror_images_are_judged_by_the_fits_that_have_not_seen_them(
    two_digits, tmp_path, monkeypatch, heard
):
    monkeypatch.setattr(wise_ft, "_posterior_mean", lambda losses: 1.0)
    monkeypatch.setattr(wise_ft, "_is_worse", lambda *given: False)
    problem, found, _ = fit(two_digits, tmp_path, tta=True, **AUTO)
    assert found.tta["n"] == len(found.rows)
    assert found.tta["used"]
    own = {}
    for way in heard[1][0]:
        problem.network.load_state_dict(way.end)
        ((x, _),) = problem.images([way.rows], None)
        with torch.no_grad():
            own |= dict(zip(way.rows.tolist(), ((problem.model(x) + problem.model(x.flip(3))) / 2).numpy()))
    (judged,), exact = found.logits, np.array([own[row] for row in found.rows])
    assert np.allclose(judged, judged.std() / exact.std() * exact, atol=1e-3)  # as large as those of the mean are
    losses = calibration.losses(judged, problem.val.labels[found.rows], problem.val.task)
    assert found.tta["loss"]["averaged"] == pytest.approx(losses.mean(), rel=1e-5)


def test_one_fit_counts_as_it_was_seen_and_the_mean_of_several_as_less_off_the_probe():
    losses, shares = np.full((6, 100), 0.5), np.array(wise_ft.SHARES)
    one, five = (losses * wise_ft._weights(shares, fits=fits)[:, None] for fits in (1, 5))
    assert wise_ft._posterior_mean(one) == pytest.approx(0.5)
    assert wise_ft._posterior_mean(five) == pytest.approx(0.6, abs=0.01)  # the probe, which is not averaged, is out
    assert wise_ft._weights(np.array(0.0), fits=5) == 1 > wise_ft._weights(np.array(0.05), fits=5)


def test_a_ridge_is_above_the_line_between_the_ends_and_clearly_above_the_least():
    noise = np.linspace(-0.1, 0.1, 100)
    losses = np.array([0.4, 0.5, 0.5, 0.5, 0.4, 0.2])[:, None] + noise
    assert wise_ft._is_ridge(0.5 + noise, 0.5, losses)  # the line is at 0.3
    assert not wise_ft._is_ridge(0.28 + noise, 0.5, losses)
    assert not wise_ft._is_ridge(0.35 + 40 * noise[::-1], 0.5, losses)  # far from certain


def test_fits_that_answer_the_same_to_every_image_are_as_sure_as_their_mean():
    answers = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    assert wise_ft._ratio(answers, 2 * answers + 5) == pytest.approx(0.5)
    constant = np.full((9, 3), 4, np.float32)
    assert wise_ft._ratio(constant, constant) == wise_ft._ratio(constant, answers) == 1


def test_mirror_images_are_judged_once_where_there_is_one_fit(two_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(wise_ft, "_mirrored", None)  # what is fitted again judges them itself
    monkeypatch.setattr(wise_ft, "_posterior_mean", lambda losses: 1.0)
    monkeypatch.setattr(folds, "mixture", lambda *given: None)
    problem, found, _ = fit(two_digits, tmp_path, tta=True, **AUTO)
    assert found.tta["n"] == len(problem.val.rows)


def test_what_is_counted_is_that_of_the_last_and_weights_are_averaged():
    first, last = ({"w": torch.tensor([w]), "count": torch.tensor(n)} for w, n in ((1.0, 3), (2.0, 5)))
    mean = wise_ft._mean([first, last])
    assert (mean["w"].item(), mean["count"].item()) == (1.5, 5)


def test_where_there_is_no_time_nothing_more_is_fitted(two_digits, tmp_path, heard):
    problem, _, _ = fit(two_digits, tmp_path, strategy="lp-ft", epochs=1)
    heard[0].clear()
    late = replace(problem, context=replace(problem.context, deadline=Deadline(at=0.0)))
    found, mode, _ = from_probe(late)
    first = wise_ft.Way(start={}, end={}, rows=late.val.rows)
    assert folds.mixture(late, mode, found, first, Descent(epochs=1, logits=np.zeros((6, 2)), seconds=1.0)) is None
    assert heard == ([], [])


@pytest.mark.slow  # what is said of a run that auto made: tests/cli/test_cli.py
def test_a_person_sees_the_fits_and_the_weighing_go_on(two_digits, tmp_path):
    told = Told()
    tk.finetune(two_digits, out=str(tmp_path / "run"), progress=told, epochs=1, **TINY)
    names = [name for name, *_ in told.phases]
    assert names[-6:] == ["fine-tuning", *["refitting"] * 4, "weighing"]
    assert all(total == done for _, total, done in told.phases)
    assert told.phases[-1][1] == len(wise_ft.SHARES) * 30
    assert "4 more fits of 1 epoch, each without another part" in told.lines
