"""What a strategy answers before anything is trained: the numbers that are worked out from the data, passes, views."""

import pytest

from transferkit import config
from transferkit.train import strategies
from transferkit.zoo.errors import UsageError


def resolved(images=100, **options):
    return config.make("photos", options).resolved(images=images, are_few=images <= 2000)


def chosen(**options):
    made = config.make("photos", options)
    return made.chosen_strategy, made


@pytest.mark.parametrize(
    ("images", "epochs"), [(1, 20), (149, 20), (154, 19), (240, 12), (600, 5), (650, 5), (700, 4), (10**6, 4)]
)
@pytest.mark.parametrize("strategy", ["finetune", "lp-ft"])
def test_a_network_sees_3000_images_in_4_to_20_epochs(strategy, images, epochs):
    assert resolved(images, strategy=strategy).epochs == epochs


@pytest.mark.parametrize(("images", "epochs"), [(1, 8), (240, 8), (2000, 8), (2001, 4), (10**6, 4)])
def test_auto_has_4_epochs_8_of_few_images_or_those_that_are_asked_for_and_snapshots_as_many_as_they_need(
    images, epochs
):
    assert resolved(images, strategy="auto").epochs == epochs
    assert resolved(images, strategy="auto", epochs=9).epochs == 9
    asked = resolved(images, strategy="auto", snapshots=5)
    assert asked.epochs == resolved(images, strategy="lp-ft", snapshots=5).epochs >= 20


@pytest.mark.parametrize(("images", "epochs"), [(1, 100), (299, 100), (400, 75), (2900, 10), (10**6, 10)])
def test_a_head_sees_30_000_in_10_to_100_epochs(images, epochs):
    assert resolved(images, strategy="probe", optimizer="adam").epochs == epochs


@pytest.mark.parametrize(("images", "size"), [(1, 4), (79, 4), (80, 5), (160, 10), (511, 31), (512, 32), (10**6, 32)])
def test_a_batch_is_a_sixteenth_of_the_images_from_4_to_32(images, size):
    assert resolved(images, strategy="finetune").batch_size == size
    assert resolved(images, strategy="probe", optimizer="adam").batch_size == size


@pytest.mark.parametrize(("images", "size"), [(1, 4), (24, 4), (25, 5), (128, 25), (160, 32), (2000, 32), (10**6, 32)])
def test_a_batch_of_auto_is_a_fifth_of_few_images_from_4_to_32_but_of_snapshots_a_sixteenth(images, size):
    assert resolved(images, strategy="auto").batch_size == size
    assert resolved(images, strategy="auto", batch_size=7).batch_size == 7
    snapshots = {name: resolved(images, strategy=name, snapshots=3).batch_size for name in ("auto", "lp-ft")}
    assert snapshots["auto"] == snapshots["lp-ft"]


def test_a_cycle_of_snapshots_has_four_epochs_at_least():
    assert resolved(10**6, strategy="finetune", snapshots=3).epochs == 12
    assert resolved(240, strategy="finetune", snapshots=2).epochs == 12
    assert resolved(240, strategy="finetune", snapshots=3).schedule == "snapshot"
    assert resolved(240, strategy="finetune").schedule == "cosine"


def test_what_is_asked_for_is_taken():
    given = {"epochs": 7, "batch_size": 6, "schedule": "step", "lr": 0.5, "l2": 0.25, "optimizer": "sgd"}
    for strategy in ("finetune", "probe"):
        found = resolved(strategy=strategy, **given)
        assert {name: getattr(found, name) for name in given} == given


@pytest.mark.parametrize(
    ("options", "l2"),
    [
        ({"strategy": "finetune"}, 0.05),
        ({"strategy": "finetune", "optimizer": "sgd"}, 1e-4),
        ({"strategy": "finetune", "l2": 0.0}, 0.0),
        ({"strategy": "probe", "optimizer": "adam"}, None),
        ({"strategy": "probe", "optimizer": "adamw"}, 0.05),
    ],
)
def test_the_l2_is_that_given_or_that_of_the_optimiser(options, l2):
    assert resolved(**options).l2 == l2


@pytest.mark.parametrize(
    ("options", "phases", "freezes"),
    [
        ({"strategy": "finetune"}, ("training",), None),
        ({"strategy": "finetune", "freeze": "layer2"}, ("training",), "layer2"),
        ({"strategy": "lp-ft"}, ("features", "training"), None),
        ({"strategy": "auto"}, ("features", "training"), "half"),
        ({"strategy": "auto", "freeze": "none"}, ("features", "training"), "none"),
        ({"strategy": "auto", "freeze": "layer2"}, ("features", "training"), "layer2"),
        ({"strategy": "auto", "freeze": "backbone"}, ("features",), "backbone"),
        ({"strategy": "auto", "weights": "none"}, ("features", "training"), None),
        ({"strategy": "auto", "snapshots": 2}, ("features", "training"), None),
        ({"strategy": "auto", "mixup": 0.2}, ("features", "training"), "half"),
        ({"strategy": "auto", "mixup": 0.2, "views": 2}, ("features", "training"), None),
        ({"strategy": "auto", "cutmix": 1.0, "views": 2}, ("features", "training"), None),
        ({"strategy": "auto", "views": 2}, ("features", "training"), "half"),
        ({"strategy": "auto", "optimizer": "lbfgs"}, ("features", "training"), None),
        ({"strategy": "probe"}, ("features",), "backbone"),
    ],
)
def test_a_network_is_passed_through_for_what_the_strategy_needs(options, phases, freezes):
    strategy, made = chosen(**options)
    assert (strategy.phases, strategy.freezes(made, are_few=True)) == (phases, freezes)
    if freezes == "half":
        assert strategy.freezes(made, are_few=False) is None


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({"strategy": "auto"}, 1 / 3),
        ({"strategy": "auto", "freeze": "layer2"}, 1 / 3),
        ({"strategy": "auto", "mixup": 0.2, "views": 2}, 1 / 3),
        ({"strategy": "auto", "val_fraction": 0.2}, 0.2),
        ({"strategy": "auto", "val_fraction": 0.4}, 0.4),
        ({"strategy": "auto", "freeze": "backbone"}, 0.2),
        ({"strategy": "auto", "weights": "none"}, 0.2),
        ({"strategy": "auto", "snapshots": 2}, 0.2),
        ({"strategy": "auto", "optimizer": "lbfgs"}, 0.2),
        ({"strategy": "probe"}, 0.2),
        ({"strategy": "lp-ft"}, 0.2),
        ({"strategy": "finetune", "val_fraction": 0.1}, 0.1),
    ],
)
def test_a_third_of_few_images_validates_in_auto_else_a_fifth_or_the_share_that_is_asked_for(options, share):
    strategy, made = chosen(**options)
    assert strategy.validates(made, are_few=True) == share
    assert strategy.validates(made, are_few=False) == options.get("val_fraction", 0.2)


@pytest.mark.parametrize(
    ("options", "views", "one_pass"),
    [
        ({"strategy": "probe"}, 2, True),
        ({"strategy": "probe", "augment": "none"}, 1, True),
        ({"strategy": "probe", "views": 1}, 1, True),
        ({"strategy": "probe", "views": 3}, 3, False),
        ({"strategy": "finetune"}, 2, False),
        ({"strategy": "lp-ft", "augment": "none"}, 1, False),
    ],
)
def test_features_are_of_as_many_views_as_are_asked_for_else_of_an_image_and_its_mirror_image(options, views, one_pass):
    strategy, made = chosen(**options)
    assert (strategy.feature_views(made), strategy.takes_one_pass(made)) == (views, one_pass)


def test_a_head_alone_takes_two_views_of_a_photo_or_one_as_it_is_but_not_two_of_that():
    chosen(strategy="probe", views=2)
    chosen(strategy="probe", views=1, augment="none")
    with pytest.raises(UsageError, match="gives one view"):
        chosen(strategy="probe", views=2, augment="none")[0]


@pytest.mark.parametrize(
    ("options", "phase", "clipped"),
    [({"strategy": "finetune"}, "finetune", True), ({"strategy": "probe", "optimizer": "adam"}, "head", False)],
)
def test_the_plan_has_the_numbers_of_the_options(options, phase, clipped):
    found = resolved(240, precision="fp32", seed=3, label_smoothing=0.125, **options)
    plan = config.make("photos", options).chosen_strategy.plan(found)
    names = ("epochs", "batch_size", "label_smoothing", "seed")
    assert [getattr(plan, name) for name in names] == [getattr(found, name) for name in names]
    assert plan.phase == phase
    assert (plan.max_gradient_norm is not None) == clipped
    assert config.make("photos", {"strategy": "probe"}).chosen_strategy.plan(found) is None


def test_a_strategy_is_found_by_its_name_and_searches_a_rate_where_it_says_so():
    assert [strategies.named(strategy.name) for strategy in strategies.TABLE] == list(strategies.TABLE)
    assert {name: strategy.name for name, strategy in strategies.LR_SEARCHES.items()} == {
        "head": "probe",
        "network": "finetune",
    }
    with pytest.raises(UsageError, match="'best' is unknown; allowed: auto, probe, finetune, lp-ft"):
        strategies.named("best")


@pytest.mark.parametrize(
    ("options", "views"), [({}, 4), ({"views": 2}, 2), ({"augment": "none"}, 1), ({"augment": "none", "views": 1}, 1)]
)
@pytest.mark.parametrize("strategy", ["auto", "finetune", "lp-ft"])
def test_lbfgs_trains_a_network_on_the_full_batch_in_views_that_stay_the_same(strategy, options, views):
    given = {"strategy": strategy, "optimizer": "lbfgs", "label_smoothing": 0.125, "balance": "weights", **options}
    found = resolved(240, **given)
    assert (found.views, found.batch_size, found.lr, found.schedule, found.l2) == (views, None, None, None, 1e-4)
    plan = chosen(**given)[0].plan(found)
    assert (plan.full_batch_views, plan.epochs, plan.label_smoothing, plan.balance) == (views, 20, 0.125, "weights")
    assert chosen(strategy=strategy)[0].plan(resolved(240, precision="fp32", strategy=strategy)).full_batch_views == 0


@pytest.mark.parametrize(
    ("asked", "taken"), [("auto", "fp32"), ("fp32", "fp32"), ("bf16/fp32", "bf16/fp32"), (None, "auto")]
)
def test_lbfgs_trains_in_single_precision_and_others_as_is_asked_for(asked, taken):
    given = {"strategy": "lp-ft"} | ({"optimizer": "lbfgs", "precision": asked} if asked else {})
    strategy, made = chosen(**given)
    assert strategy.precision(made) == taken


def test_where_the_head_alone_is_trained_lbfgs_solves_for_it():
    assert chosen(freeze="backbone", optimizer="lbfgs")[0].plan(resolved(240)) is None


@pytest.mark.parametrize(("options", "cycles"), [({}, 1), ({"snapshots": 3}, 3)])
def test_the_plan_has_a_cycle_for_each_snapshot_and_one_without(options, cycles):
    found = resolved(240, precision="fp32", strategy="finetune", **options)
    assert config.make("photos", options).chosen_strategy.plan(found).schedule.cycles == cycles
