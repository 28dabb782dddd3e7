"""The training loop is that of plain PyTorch: its steps, written down here once more, give the same weights."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from transferkit.model.eval_batch import EVAL_BATCH
from transferkit.tasks import SINGLE_LABEL
from transferkit.train import loop, optim, outputs
from transferkit.train.average import RunningAverage
from transferkit.train.loop import Examples, Plan
from transferkit.train.schedule import Schedule
from transferkit.zoo.errors import DivergedError

EXAMPLES = Examples(rows=np.arange(3, 25), labels=np.array([0, 1, 1, 2, 1] * 6), num_classes=3)
X = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32) * 3)


def loader(batches, epoch):
    """Points, which an epoch turns a little as augmentation would; as they are where nothing is trained."""
    for rows in batches:
        yield X[torch.from_numpy(rows)] + (0 if epoch is None else 0.1 * epoch), rows


def start():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    return network, optim.make("sgd", optim.groups_of(network.parameters(), lr=0.5, l2=0.0))


def by_hand(plan, *, weights=None, smoothing=0.0, clip=1.0):
    """Losses, accuracies and learning rates of each epoch, and the network after the last."""
    network, _ = start()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    criterion = nn.CrossEntropyLoss(weights, label_smoothing=smoothing)
    found = []
    for epoch in range(plan.epochs):
        order = loop.epoch_order(EXAMPLES, balance="none", seed=plan.seed, epoch=epoch)
        losses, right, rates = [], [], []
        batches = np.array_split(order, int(np.ceil(len(order) / plan.batch_size)))
        network.train()
        for number, (x, rows) in enumerate(loader(batches, epoch)):
            rates.append(0.5 * plan.schedule.factor(epoch * len(batches) + number, steps_per_epoch=len(batches)))
            optimizer.param_groups[0]["lr"] = rates[-1]
            y = torch.from_numpy(EXAMPLES.labels[rows])
            logits = network(x)
            loss = criterion(logits, y)
            optimizer.zero_grad()
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            losses += [loss.item()] * len(rows)
            right.append(accuracy_score(y, logits.argmax(1), normalize=False))
        found.append((np.mean(losses), sum(right) / len(order), rates))
    return found, network


@pytest.mark.parametrize(
    ("options", "hand"),
    [
        ({}, {}),
        ({"label_smoothing": 0.2}, {"smoothing": 0.2}),
        ({"max_gradient_norm": None}, {"clip": None}),
        ({"max_gradient_norm": 0.1}, {"clip": 0.1}),
        ({"balance": "weights"}, {"weights": True}),
    ],
)
def test_an_epoch_is_what_pytorch_makes_of_its_batches(options, hand):
    plan = Plan(epochs=3, batch_size=5, seed=4, schedule=Schedule(name="inverse", epochs=3, decay=0.5), **options)
    if "weights" in hand:
        labels = EXAMPLES.labels[EXAMPLES.rows]
        weights = compute_class_weight("balanced", classes=np.arange(3), y=labels)
        hand = {"weights": torch.from_numpy(weights).float()}
    network, optimizer = start()
    records = list(loop.train_epochs(network, optimizer, loader, EXAMPLES, plan))
    expected, reference = by_hand(plan, **hand)
    for name, tensor in reference.state_dict().items():
        assert torch.allclose(network.state_dict()[name], tensor, atol=1e-5), name
    for number, (record, (loss, accuracy, rates)) in enumerate(zip(records, expected, strict=True)):
        assert record["epoch"] == number
        assert record["phase"] == "finetune"
        if "weights" not in hand:  # the mean of a batch is then not one over images
            assert record["train"]["loss"] == pytest.approx(loss, rel=1e-4)
        assert record["train"]["accuracy"] == accuracy
        assert record["lr"] == pytest.approx(rates[-1])
        assert record["lrs"] == pytest.approx([rates[i] for i in (0, 0, 1, 1, 2, 3, 3, 4)])
        assert 0 <= record["seconds"] < 60
        assert "snapshot" not in record


def test_the_rate_of_a_plan_without_a_schedule_warms_up_and_falls_along_a_cosine():
    network, optimizer = start()
    records = list(loop.train_epochs(network, optimizer, loader, EXAMPLES, Plan(epochs=4, batch_size=5)))
    rates = Schedule(name="cosine", epochs=4)
    assert [record["lr"] for record in records] == pytest.approx(
        [0.5 * rates.factor(5 * epoch + 4, steps_per_epoch=5) for epoch in range(4)]
    )


def test_the_ends_of_cycles_are_numbered():
    plan = Plan(epochs=5, batch_size=5, schedule=Schedule(name="snapshot", epochs=5, cycles=2))
    network, optimizer = start()
    records = list(loop.train_epochs(network, optimizer, loader, EXAMPLES, plan))
    assert [record.get("snapshot") for record in records] == [None, 1, None, None, 2]
    assert plan.has_cycles
    assert not Plan(epochs=5, batch_size=5).has_cycles
    assert plan.shortened(3).schedule.snapshot_epochs() == (1, 2)
    assert Plan(epochs=5, batch_size=5, first_epoch=2).shortened(3) == Plan(epochs=3, batch_size=5)


@pytest.mark.parametrize("count", [1, EVAL_BATCH, EVAL_BATCH + 1, 2 * EVAL_BATCH + 5])
def test_logits_are_those_of_the_network_in_eval_mode_for_the_images_as_they_are(count):
    rows = np.random.default_rng(count).integers(0, 30, count)
    network, _ = start()
    network.train()
    found = outputs.logits_of(network, loader, rows, num_classes=3)
    with torch.no_grad():
        assert np.allclose(found, network.eval()(X[rows]).numpy(), atol=1e-6)
    sizes = [len(batch) for batch in loop.eval_batches(rows)]
    assert np.concatenate(loop.eval_batches(rows)).tolist() == rows.tolist()
    assert set(sizes[:-1]) <= {EVAL_BATCH}
    assert 1 <= sizes[-1] <= EVAL_BATCH


def test_a_class_without_images_has_no_weight():
    assert SINGLE_LABEL.class_weights(np.array([0, 0, 2]), 4).tolist() == pytest.approx([0.375, 0, 0.75, 0])


def test_weights_that_are_no_numbers_are_found():
    network, _ = start()
    assert loop.is_finite(network)
    network[3].bias.data[1] = torch.inf
    assert not loop.is_finite(network)


class Told:
    def __init__(self):
        self.counts = []

    def advance(self, count):
        self.counts.append(count)


def test_training_images_are_counted_and_those_that_judge_are_not():
    told = Told()
    batches = [np.arange(3), np.arange(3, 8)]
    assert len(list(loop.counted(loader, told)(batches, None))) == 2
    assert told.counts == []
    assert len(list(loop.counted(loader, told)(batches, 0))) == 2
    assert told.counts == [3, 5]


class Waits(TorchDispatchMode):
    """Counts what makes Python wait for a device: a value of a tensor that is asked for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        names = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select")
        self.count += function.overloadpacket.__name__ in names
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw"])
def test_no_step_waits_for_the_device_and_losses_are_brought_every_20(monkeypatch, name):
    asked, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: asked.append(len(tensor)) or tolist(tensor))
    network, _ = start()
    optimizer = optim.make(name, optim.groups_of(network.parameters(), lr=0.01, l2=0.1))
    plan = Plan(epochs=1, batch_size=2, label_smoothing=0.1, balance="weights")
    examples = Examples(rows=np.arange(30).repeat(3), labels=EXAMPLES.labels, num_classes=3)
    judged = RunningAverage(network, decay=0.9)
    optimizer.register_step_post_hook(lambda *_: judged.update())
    with Waits() as waits:
        steps = list(loop.train_steps(network, optimizer, loader, examples, plan))
    assert len(steps) == 45
    assert waits.count == 0
    assert asked == [20, 20, 20, 20, 5, 5]  # losses, and how many are right


def test_a_loss_that_is_no_number_is_named_by_its_step_after_those_before_it():
    def at_third(batches, epoch):
        for number, (x, rows) in enumerate(loader(batches, epoch)):
            yield x * (torch.nan if number == 2 else 1), rows

    steps, seen = loop.train_steps(*start(), at_third, EXAMPLES, Plan(epochs=1, batch_size=2)), []
    with pytest.raises(DivergedError, match="the loss is nan at step 3 of epoch 1"):
        seen.extend(step.loss for step in steps)
    assert len(seen) == 2
    assert np.isfinite(seen).all()
