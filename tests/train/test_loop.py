import copy

import numpy as np
import pytest
import torch
from torch import nn

from transferkit.train import loop, optim, state
from transferkit.train.loop import Examples, Plan
from transferkit.zoo.errors import DivergedError, ModelFileError, StorageError


@pytest.fixture
def examples():
    return Examples(rows=np.arange(12), labels=np.array([0, 1, 1, 1] * 3), num_classes=2)


def inputs(examples):
    """Points on both sides of a line, served like images."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(12, 3)).astype(np.float32) + 2 * examples.labels[:, None]).float()

    def supply(batches, epoch):
        for rows in batches:
            yield x[torch.from_numpy(rows)], rows

    return supply


def start(lr=0.1):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.3), nn.Linear(3, 2))
    groups = [{"params": list(network.parameters()), "lr": lr, "base_lr": lr, "l2": 0.0}]
    return network, optim.make("adamw", groups)


def test_training_lowers_the_loss_and_a_repeat_gives_the_same_bits(examples):
    runs = []
    for _ in range(2):
        network, optimizer = start()
        records = list(loop.train_epochs(network, optimizer, inputs(examples), examples, Plan(epochs=8, batch_size=4)))
        runs.append(network.state_dict())
        assert records[-1]["train"]["loss"] < records[0]["train"]["loss"]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize(("images", "batch_size"), [(2, 2), (3, 2), (33, 32), (5, 4), (240, 16), (7, 100)])
def test_every_image_is_in_one_batch_and_no_batch_holds_one_image(images, batch_size):
    batches = loop.cut_batches(np.arange(images), batch_size)
    assert np.concatenate(batches).tolist() == list(range(images))
    assert min(map(len, batches)) >= 2
    assert max(map(len, batches)) <= batch_size + 1


def test_two_epochs_have_different_orders_of_the_same_rows(examples):
    first, second = (loop.epoch_order(examples, balance="none", seed=0, epoch=epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == examples.rows.tolist()
    assert first.tolist() != second.tolist()


def test_the_sampler_draws_rare_classes_as_often_as_common_ones():
    rare = Examples(rows=np.arange(1000), labels=np.repeat([0, 1], [50, 950]), num_classes=2)
    drawn = rare.labels[loop.epoch_order(rare, balance="sampler", seed=0, epoch=0)]
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)


def test_class_weights_are_scikit_learns_balanced_ones():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert loop.class_weights(labels, 3) == pytest.approx(expected)


def test_a_loss_that_is_not_finite_ends_training_with_advice(examples):
    network, optimizer = start()
    with torch.no_grad():
        network[1].weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="lower --lr"):
        list(loop.train_epochs(network, optimizer, inputs(examples), examples, Plan(epochs=1, batch_size=4)))


def test_a_run_stopped_and_resumed_has_the_bits_of_one_that_was_not(examples, tmp_path):
    plan, supply = Plan(epochs=6, batch_size=4), inputs(examples)
    straight, optimizer = start()
    list(loop.train_epochs(straight, optimizer, supply, examples, plan))

    stopped, optimizer = start()
    epochs = loop.train_epochs(stopped, optimizer, supply, examples, plan)
    records = [next(epochs), next(epochs)]
    weights = state.snapshot(stopped)
    held = state.Checkpoint(
        model=weights, averaged=weights, best=weights, optimizer=optimizer.state_dict(), records=records
    )
    state.save(tmp_path / "last", held)

    resumed, optimizer = start()
    saved = state.load(tmp_path / "last", optimizer)
    resumed.load_state_dict(saved.model)
    optimizer.load_state_dict(saved.optimizer)
    plan = Plan(epochs=6, batch_size=4, first_epoch=2)
    list(loop.train_epochs(resumed, optimizer, supply, examples, plan))
    assert all(torch.equal(a, b) for a, b in zip(straight.state_dict().values(), resumed.state_dict().values()))


@pytest.mark.parametrize("best_is_newest", [True, False])
def test_the_best_weights_come_back_and_those_of_the_newest_epoch_are_written_once(tmp_path, best_is_newest):
    network, optimizer = start()
    averaged = state.snapshot(network)
    best = averaged if best_is_newest else {name: tensor + 1 for name, tensor in averaged.items()}
    held = state.Checkpoint(model=averaged, averaged=averaged, best=best, optimizer=optimizer.state_dict(), records=[])
    state.save(tmp_path / "last", held)
    assert (tmp_path / "last" / "best.safetensors").exists() != best_is_newest
    read = state.load(tmp_path / "last", optimizer)
    assert all(torch.equal(read.best[name], best[name]) for name in best)
    assert all(torch.equal(read.averaged[name], averaged[name]) for name in averaged)


def test_a_checkpoint_written_beside_training_is_that_of_its_moment(examples, tmp_path):
    network, optimizer = start()
    held = []
    with state.saving(tmp_path / "last") as save:
        for record in loop.train_epochs(network, optimizer, inputs(examples), examples, Plan(epochs=3, batch_size=4)):
            weights, slots = state.snapshot(network), state.optimizer_snapshot(optimizer)
            held.append((weights, slots, copy.deepcopy(weights), copy.deepcopy(slots)))
            if record["epoch"] < 2:
                save(state.Checkpoint(model=weights, averaged=weights, best=weights, optimizer=slots, records=[record]))
    for weights, slots, weights_then, slots_then in held:  # later steps have not changed what a thread may yet write
        assert same(weights, weights_then)
        assert all(same(slots["state"][number], of) for number, of in slots_then["state"].items())
    read = state.load(tmp_path / "last", optimizer)
    assert read.records[0]["epoch"] == 1
    assert same(read.model, held[1][0])
    assert not same(read.model, held[2][0])
    assert all(same(read.optimizer["state"][number], of) for number, of in held[1][1]["state"].items())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_that_cannot_be_written_beside_training_stops_it(tmp_path):
    (tmp_path / "file").write_text("")
    network, optimizer = start()
    weights = state.snapshot(network)
    held = state.Checkpoint(model=weights, averaged=weights, best=weights, optimizer=optimizer.state_dict(), records=[])
    with pytest.raises(StorageError, match="file"), state.saving(tmp_path / "file" / "last") as save:
        save(held)


def test_a_changed_checkpoint_is_refused(examples, tmp_path):
    network, optimizer = start()
    weights = state.snapshot(network)
    held = state.Checkpoint(model=weights, averaged=weights, best=weights, optimizer=optimizer.state_dict(), records=[])
    state.save(tmp_path / "last", held)
    file = tmp_path / "last" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    with pytest.raises(ModelFileError, match=r"model\.safetensors is missing or damaged"):
        state.load(tmp_path / "last", optimizer)
