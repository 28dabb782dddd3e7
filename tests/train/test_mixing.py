"""Mixed images learn their mixed labels: the step is that of soft targets, a function of (seed, epoch, step)."""

import numpy as np
import pytest
import torch
from torch import nn

from transferkit import seeds
from transferkit.config import FinetuneConfig
from transferkit.tasks import SINGLE_LABEL, MultiLabel
from transferkit.train import loop, optim
from transferkit.train.loop import Examples
from transferkit.train.mixing import Mixing
from transferkit.train.plan import Plan
from transferkit.train.schedule import Schedule
from transferkit.train.strategies import TABLE
from transferkit.zoo.errors import UsageError

RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.normal(size=(12, 3, 6, 4)).astype(np.float32)).to(memory_format=torch.channels_last)
ONE = np.arange(12) ** 2 % 3
SEVERAL = RANDOM.random((12, 3)) < 0.5
WEIGHTS = {"none": np.ones(3), "weights": SINGLE_LABEL.class_weights(ONE, 3)}


def stepped(plan, task, labels):
    """A linear network after one step of plain gradient descent with rate 1, and what the step tells."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    start = [tensor.detach().clone() for tensor in network.parameters()]
    optimizer = optim.make("sgd", optim.groups_of(network.parameters(), lr=1.0, l2=0.0))
    examples = Examples(rows=np.arange(12), labels=labels, num_classes=3, task=task)
    orders = []

    def loader(batches, epoch):
        for rows in batches:
            orders.append(rows)
            yield X[torch.from_numpy(rows)], rows

    (step,) = loop.train_steps(network, optimizer, loader, examples, plan)
    return start, [tensor.detach() for tensor in network.parameters()], orders[0], step


def plan(**options):
    schedule = Schedule(name="constant", epochs=1)
    return Plan(epochs=1, batch_size=12, max_gradient_norm=None, seed=1, schedule=schedule, **options)


@pytest.mark.parametrize("balance", ["none", "weights"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_step_of_mixup_is_that_of_soft_targets(balance, smoothing):
    options = {"mixing": Mixing(mixup=0.7), "balance": balance, "label_smoothing": smoothing}
    start, found, rows, step = stepped(plan(**options), SINGLE_LABEL, ONE)
    share = seeds.generator(1, "mix", 0, 0).beta(0.7, 0.7)
    others, weights = np.roll(rows, 1), torch.from_numpy(WEIGHTS[balance]).float()
    hot = nn.functional.one_hot(torch.from_numpy(ONE), 3).float()
    targets = share * hot[rows] + (1 - share) * hot[others]
    soft = targets * (1 - smoothing) + smoothing / 3
    x = (share * X[rows] + (1 - share) * X[others]).flatten(1)
    weight, bias = (tensor.clone().requires_grad_() for tensor in start)
    logits = x @ weight.T + bias
    loss = -(weights * soft * logits.log_softmax(1)).sum() / weights[ONE].sum()
    loss.backward()
    assert step.loss == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(found[0], start[0] - weight.grad, atol=1e-6)
    assert torch.allclose(found[1], start[1] - bias.grad, atol=1e-6)
    assert step.hits == int((logits.argmax(1) == targets.argmax(1)).sum())  # the label that counts most


def test_several_labels_an_image_are_mixed_each():
    start, found, rows, _ = stepped(plan(mixing=Mixing(mixup=0.7)), MultiLabel(), SEVERAL)
    share, others = seeds.generator(1, "mix", 0, 0).beta(0.7, 0.7), np.roll(rows, 1)
    targets = torch.from_numpy(share * SEVERAL[rows] + (1 - share) * SEVERAL[others]).float()
    weight, bias = (tensor.clone().requires_grad_() for tensor in start)
    logits = (share * X[rows] + (1 - share) * X[others]).flatten(1) @ weight.T + bias
    nn.functional.binary_cross_entropy_with_logits(logits, targets).backward()
    assert torch.allclose(found[0], start[0] - weight.grad, atol=1e-6)


def test_a_cut_image_has_a_box_of_another_and_its_label_by_area():
    x, rows, areas = torch.arange(4 * 3 * 32 * 24.0).reshape(4, 3, 32, 24), np.arange(4), []
    for step in range(40):
        mixed, ((share, own), (rest, others)) = Mixing(cutmix=1.0).of(x, rows, seed=0, epoch=1, step=step)
        is_own, is_other = (mixed == x).all(1), (mixed == x[others]).all(1)  # (B, H, W)
        assert (is_own | is_other).all()
        assert is_own.float().mean().item() == pytest.approx(share)
        assert (own.tolist(), others.tolist(), rest) == (rows.tolist(), [3, 0, 1, 2], pytest.approx(1 - share))
        box = is_other[0].nonzero().numpy()
        assert len(box) == (np.ptp(box[:, 0]) + 1) * (np.ptp(box[:, 1]) + 1) if len(box) else share == 1
        areas.append(rest)
    assert min(areas) < 0.1
    assert max(areas) > 0.5


def test_batches_are_mixed_anew_each_step_and_alike_in_each_run():
    def mixed(step, **given):
        return Mixing(**given).of(X, np.arange(12), seed=0, epoch=0, step=step)[0]

    for given in ({"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}):
        assert torch.equal(mixed(1, **given), mixed(1, **given))
        assert not torch.equal(mixed(1, **given), mixed(2, **given))
        assert mixed(1, **given).stride() == X.stride()
    both = [mixed(step, mixup=1.0, cutmix=1.0) for step in range(20)]
    kinds = {bool(((each == X) | (each == X.roll(1, 0))).all()) for each in both}
    assert kinds == {False, True}


def test_without_mixing_a_batch_is_the_very_same():
    found, shares = Mixing().of(X, np.arange(12), seed=0, epoch=0, step=0)
    assert found is X
    assert [share for share, _ in shares] == [1.0]


@pytest.mark.parametrize("strategy", [each for each in TABLE if each.trains_network], ids=lambda each: each.name)
def test_every_strategy_that_trains_a_network_mixes(strategy):
    config = FinetuneConfig(data="photos", strategy=strategy.name, mixup=0.2, cutmix=1.0).resolved(
        images=100, are_few=True
    )
    assert strategy.plan(config).mixing == Mixing(mixup=0.2, cutmix=1.0)


def test_mixing_is_refused_where_images_are_not_seen_together():
    FinetuneConfig(data="photos", strategy="lp-ft", mixup=0.2, freeze="none", views=2)
    with pytest.raises(UsageError, match="drop --views"):
        FinetuneConfig(data="photos", strategy="lp-ft", freeze="stage1", views=2, mixup=0.2)
    with pytest.raises(UsageError, match="takes no --cutmix"):
        FinetuneConfig(data="photos", strategy="lp-ft", optimizer="lbfgs", cutmix=1.0)
    probe = FinetuneConfig(data="photos", strategy="probe", mixup=0.2)
    assert probe.chosen_strategy.unused(probe) == ["--mixup"]
