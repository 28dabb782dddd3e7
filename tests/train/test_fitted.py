"""What a strategy hands out is its own: asking it changes nothing, and nothing else changes it."""

import functools
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import write_digits
from transferkit import metrics
from transferkit.messages import Reporter
from transferkit.preparation import problem_of, read_images
from transferkit.prepare import prepare
from transferkit.progress import Progress
from transferkit.train import descent, folds, head, optim, outputs, state, wise_ft
from transferkit.train.context import FitContext
from transferkit.trust import calibration

TINY = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "precision": "fp32", "batch_size": 8}
RUNS = [
    {"strategy": "probe"},
    {"strategy": "probe", "snapshots": 2, "epochs": 4, "lr": 0.3},
    {"strategy": "finetune", "epochs": 1},
    {"strategy": "finetune", "snapshots": 2, "epochs": 2, "lr": 0.01},
    {"strategy": "lp-ft", "snapshots": 2, "epochs": 2, "lr": 0.01, "freeze": "layer2", "views": 1},
    {"strategy": "auto", "epochs": 1},
]


@pytest.fixture(scope="module", autouse=True)
def one_l2():
    """The L2 of a probe is not searched for, which is half of the time of a fit; tests/train/test_head.py has that."""
    search = head.fit_probe
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "fit_probe", lambda problem, *, l2, **given: search(problem, l2=l2 or 0.01, **given))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted") / "digits"
    write_digits(folder / "train", classes=(3, 5, 8), per_class=10)
    write_digits(folder / "test", classes=(3, 5, 8), per_class=3)
    return folder


def fit(data, cache, *, append=None, **options):
    """The problem, what the strategy made of it, and the test rows."""
    prepared = prepare(data, cache_dir=str(cache), **TINY, **options)
    taken, config = read_images(prepared, Progress())
    context = FitContext(plan=prepared.strategy.plan(config), patience=99, reporter=Reporter(append=append))
    problem = problem_of(config, taken, prepared, context=context)
    return problem, prepared.strategy.run(problem), np.flatnonzero(taken.listing.parts == "test")


def weights(networks):
    return [{name: tensor.clone() for name, tensor in network.state_dict().items()} for network in networks]


def same(first, second):
    return all(torch.equal(a[name], b[name]) for a, b in zip(first, second) for name in a)


@pytest.fixture(scope="module")
def fitted_of(data, tmp_path_factory):
    """What `fit` makes of a number of RUNS, the same for all tests; snapshots are kept, whole images are at hand."""

    def made(number):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("transferkit.train.ensemble.compare", kept)
            return fit(data, tmp_path_factory.mktemp("cache"), tta=True, **RUNS[number])

    return functools.cache(made)


def named(number):
    return "-".join(map(str, RUNS[number].values()))


SNAPSHOTS = [number for number, run in enumerate(RUNS) if "snapshots" in run]


@pytest.mark.parametrize("number", range(len(RUNS)), ids=named)
def test_predicting_changes_no_weight_and_each_network_answers_as_it_did(fitted_of, number):
    problem, fitted, rows = fitted_of(number)
    before, frozen = weights([problem.model, *fitted.networks]), problem.model.frozen
    first = np.stack(fitted.predict(rows))  # (M, n, K)
    assert np.allclose(fitted.predict(rows[::-1].copy()), first[:, ::-1], atol=1e-4)
    assert same(before, weights([problem.model, *fitted.networks]))
    assert problem.model.frozen == frozen
    assert len(fitted.networks) == RUNS[number].get("snapshots", 1)


@pytest.mark.parametrize("number", SNAPSHOTS, ids=named)
def test_members_differ_where_they_were_trained_and_share_what_is_frozen(fitted_of, number):
    _, fitted, _ = fitted_of(number)
    for first, second in itertools.combinations(fitted.networks, 2):
        pairs = list(zip(first.parameters(), second.parameters()))
        assert any(not torch.equal(a, b) for a, b in pairs)
        assert all((a is b) == (not a.requires_grad) for a, b in pairs)


@pytest.mark.parametrize("number", SNAPSHOTS, ids=named)
def test_an_ensemble_answers_the_same_whatever_becomes_of_the_network_it_was_trained_in(fitted_of, number):
    problem, fitted, rows = fitted_of(number)
    first, held = fitted.predict(rows), {}
    with torch.no_grad():
        for parameter in {*problem.model.parameters(), *problem.network.parameters()}:
            if parameter.requires_grad:
                held[parameter] = parameter.clone()
                parameter.zero_()
    try:
        assert np.array_equal(fitted.predict(rows), first)
    finally:
        with torch.no_grad():
            for parameter, value in held.items():
                parameter.copy_(value)


@pytest.mark.parametrize("options", [RUNS[1], RUNS[2], RUNS[4]], ids=lambda run: run["strategy"])
def test_averages_over_mirror_images_are_judged_before_the_fit_to_all(data, tmp_path, monkeypatch, options):
    monkeypatch.setattr("transferkit.train.ensemble.compare", kept)
    monkeypatch.setattr("transferkit.train.problem.REFIT_IMAGES", 0)  # so that what was judged is still there
    problem, fitted, _ = fit(data, tmp_path, tta=True, **options)
    val, found = problem.val, []
    ((x, _),) = problem.images([val.rows], None)
    for network in fitted.networks:
        with torch.no_grad():
            found.append(((network(x) + network(x.flip(3))) / 2).numpy())
    losses = calibration.losses(val.task.mean(found), val.labels[val.rows], val.task)
    assert fitted.tta["loss"]["averaged"] == pytest.approx(losses.mean(), rel=1e-3)


@pytest.mark.parametrize("number", range(len(RUNS)), ids=named)
def test_features_are_what_the_last_network_gives_the_images_as_they_are(fitted_of, number):
    problem, fitted, rows = fitted_of(number)
    ((x, _),) = problem.images([rows], None)
    with torch.no_grad():
        expected = fitted.networks[-1].eval().features(x)
    assert np.allclose(fitted.features(rows), expected, rtol=1e-3, atol=1e-4)


def test_nothing_is_averaged_over_mirror_images_that_training_has_not_seen(data, tmp_path):
    problem, fitted, _ = fit(data, tmp_path, strategy="finetune", epochs=1, augment="none", tta=True)
    assert problem.images is None
    assert fitted.tta is None


def test_the_epoch_that_is_named_best_is_the_one_of_the_lowest_calibrated_validation_loss(data, tmp_path):
    lines = []
    _, fitted, _ = fit(data, tmp_path, append=lines.append, strategy="finetune", epochs=4, lr=0.01)
    losses = [line["val"]["calibrated_loss"] for line in lines]
    assert f"best epoch: {1 + int(np.argmin(losses))}" in fitted.notes
    assert fitted.chosen == "finetune"
    _, cycles, _ = fit(data, tmp_path, strategy="finetune", snapshots=2, epochs=2, lr=0.01)
    assert not any(note.startswith("best epoch") for note in cycles.notes)


def test_auto_goes_to_the_end_of_few_images_and_lp_ft_and_auto_of_many_keep_the_best_epoch(data, tmp_path, monkeypatch):
    seen, descend = [], descent.descend
    monkeypatch.setattr(descent, "descend", lambda *given: seen.append(given[-1].to_the_end) or descend(*given))
    for strategy, few in (("auto", 2000), ("lp-ft", 2000), ("auto", 0)):
        monkeypatch.setattr("transferkit.train.problem.REFIT_IMAGES", few)
        fit(data, tmp_path, strategy=strategy, epochs=1, lr=0.01)
    assert seen == [True, False, False]


def fit_share(data, cache, monkeypatch, share):
    """What auto makes of it where the validation images speak for that share of the way; and its network."""
    monkeypatch.setattr(wise_ft, "_posterior_mean", lambda losses: share)
    monkeypatch.setattr(metrics, "is_better", lambda *losses: False)
    monkeypatch.setattr(folds, "mixture", lambda *given: None)
    problem, fitted, _ = fit(data, cache, strategy="auto", epochs=1, lr=0.01)
    (found,) = weights([problem.model])
    return fitted, found


def test_auto_keeps_the_share_of_the_way_that_validation_speaks_for(data, tmp_path, monkeypatch):
    shares = (0.04, 0.25, 1.0)  # less than a twentieth of the way is none
    (probe, low), (mixed, middle), (whole, high) = (fit_share(data, tmp_path, monkeypatch, s) for s in shares)
    assert [each.chosen for each in (probe, mixed, whole)] == ["probe", "lp-ft", "lp-ft"]
    for name in low:
        if low[name].is_floating_point():
            torch.testing.assert_close(middle[name], 0.75 * low[name] + 0.25 * high[name], rtol=1e-4, atol=1e-6)
    assert any(not torch.equal(low[name], high[name]) for name in low)
    problem, probed, _ = fit(data, tmp_path, strategy="probe")
    assert same(weights([problem.model]), [low])
    problem, tuned, _ = fit(data, tmp_path, strategy="lp-ft", epochs=1, lr=0.01)
    assert same(weights([problem.model]), [high])
    notes = [next(note for note in each.notes if "validation images" in note) for each in (probe, mixed, whole)]
    assert notes[0].startswith("the probe is kept: calibrated loss ")
    assert notes[1].startswith(
        "the weights 25 % of the way from the probe to the fine-tuned network are kept: calibrated loss "
    )
    assert notes[2].startswith("the fine-tuned network is kept: calibrated loss ")
    validation = len(whole.rows)
    alone = f"the {validation} validation images, by a fit to the training images alone; they also chose "
    assert whole.judged == mixed.judged == f"{alone}how much of fine-tuning to keep"
    assert (whole.notes[1], tuned.notes[0]) == ("epochs: 1", "best epoch: 1")
    assert tuned.judged == f"{alone}the epoch"
    by_folds = f"each of the {len(probed.rows)} training and validation images, by a fit that has not seen it"
    assert probed.judged == by_folds
    assert probe.judged == f"{by_folds}; the {validation} of validation alone chose the probe"


def test_the_score_of_a_mixture_is_that_of_the_weights_before_the_last_fit(data, tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.train.problem.REFIT_IMAGES", 0)
    monkeypatch.setattr(wise_ft, "JUDGED", 2)
    fitted, _ = fit_share(data, tmp_path, monkeypatch, 0.4)
    assert "by 2 of them" in fitted.notes[0]
    assert len(fitted.logits[0]) == len(fitted.rows) > 2
    whole, _ = fit_share(data, tmp_path, monkeypatch, 1.0)
    assert not np.allclose(fitted.logits, whole.logits, atol=1e-3)
    assert np.allclose(fitted.predict(fitted.rows), fitted.logits, atol=1e-5)


def test_the_note_says_what_was_tried_and_what_each_came_to():
    losses = np.array([[0.5, 0.3], *[[0.2, 0.2]] * 4, [0.1, 0.1]])
    assert wise_ft._note(losses, 0.63, 0.2, folds=1, n=7) == (
        "the weights 63 % of the way from the probe to the fine-tuned network are kept: calibrated loss 0.200 on the "
        "7 validation images; on the way in steps of 20 %, by 2 of them: 0.400, 0.200, 0.200, 0.200, 0.200, 0.100; "
        "fine-tuning gains 0.300 ± 0.196"
    )
    several = wise_ft._note(losses, 0.63, 0.2, folds=5, n=9)
    assert "are kept, in the mean of 5 fits: calibrated loss 0.200 on the 9 training and validation images; " in several


def test_a_share_is_the_mean_of_its_posterior():
    losses = np.zeros((6, 10), np.float32)
    assert wise_ft._posterior_mean(losses) == pytest.approx(0.5)  # nothing is known
    losses[0, 0] = np.log(3)  # that share makes the labels a third as likely
    assert wise_ft._posterior_mean(losses) == pytest.approx(3 / (5 + 1 / 3))
    losses[:5] = 100
    assert wise_ft._posterior_mean(losses) == pytest.approx(1.0)


def test_where_the_middle_is_clearly_worse_than_an_end_the_better_end_is_kept(data, tmp_path, monkeypatch):
    ends = [0.30, 9, 9, 9, 9, 0.29]  # the mean of the posterior lies between two equal ends, where nobody should be
    problem, _, _ = fit(data, tmp_path, strategy="lp-ft", epochs=1, lr=0.01)
    mode = SimpleNamespace(network=problem.network, loader=problem.loader)
    start = state.snapshot(problem.network)
    given = iter([*ends, 9, 0.29])
    monkeypatch.setattr(calibration, "losses", lambda logits, labels, task: _around(next(given), labels))
    end = start | {"model.fc.bias": start["model.fc.bias"] + torch.tensor([1.0, 0.0, -1.0])}
    rows = problem.val.rows
    found = wise_ft.find(problem, mode, [wise_ft.Way(start=start, end=end, rows=rows)])
    assert found.share == 1.0
    assert torch.equal(problem.network.state_dict()["model.fc.bias"], end["model.fc.bias"])
    assert np.array_equal(found.logits, outputs.logits_of(problem.network, problem.loader, rows, num_classes=3))


def _around(loss, labels):
    return np.linspace(loss - 0.01, loss + 0.01, len(labels))


def test_snapshots_that_lose_to_the_probe_name_it_as_what_was_chosen(data, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "is_better", lambda *losses: False)
    _, fitted, _ = fit(data, tmp_path, strategy="auto", snapshots=2, epochs=2, lr=0.01)
    assert fitted.snapshots["chosen"] == fitted.chosen == "probe"
    assert "kept" not in fitted.snapshots


def test_snapshots_are_compared_with_the_probe_once_both_are_calibrated(data, tmp_path, monkeypatch):
    compared, losses = [], calibration.losses
    monkeypatch.setattr(metrics, "is_better", lambda *given: compared.append(given) or False)
    monkeypatch.setattr(calibration, "losses", lambda *given: losses(*given) + 7)
    fit(data, tmp_path, strategy="auto", snapshots=2, epochs=2, lr=0.01)
    assert min(each.min() for each in compared[-1]) > 7


@pytest.mark.parametrize(("strategy", "is_faster"), [("finetune", True), ("lp-ft", False)])
def test_a_head_that_starts_at_random_is_trained_faster_than_the_stage_below_it_and_a_probe_as_fast(
    data, tmp_path, monkeypatch, strategy, is_faster
):
    made, groups = [], optim.parameter_groups
    monkeypatch.setattr(
        optim, "parameter_groups", lambda *given, **about: made.append(groups(*given, **about)) or made[-1]
    )
    problem, _, _ = fit(data, tmp_path, strategy=strategy, epochs=1, lr=0.01)
    rates = {id(parameter): group["base_lr"] for group in made[0] for parameter in group["params"]}
    *_, below, head = ([rates[id(p)] for _, p in stage] for stage in problem.model.stage_parameters().values())
    assert {*below} == {0.01}
    assert all((rate > 0.01) == is_faster and rate >= 0.01 for rate in head)


def kept(logits, labels, *_):
    """The comparison of snapshots as if they were better together."""
    return {"members": len(logits), "chosen": "ensemble"}
