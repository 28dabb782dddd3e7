"""Checkpoints: what comes back is what was there, to the bit, and damage is found."""

import copy
import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from transferkit.train import loop, optim, state
from transferkit.train.loop import Examples, Plan
from transferkit.zoo.errors import ModelFileError, StorageError

PLAN = Plan(epochs=6, batch_size=4)
EXAMPLES = Examples(rows=np.arange(12), labels=np.array([0, 1, 1, 1] * 3), num_classes=2)


def loader(batches, epoch):
    """Small pictures of noise, brighter for class 1."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(12, 3, 8, 8)) + EXAMPLES.labels[:, None, None, None]).float()
    for rows in batches:
        yield x[torch.from_numpy(rows)], rows


def start(name="adamw", memory_format=torch.channels_last):
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)]
    network = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4, 2))
    network.to(memory_format=memory_format)
    return network, optim.make(name, optim.groups_of(network.parameters(), lr=0.05, l2=0.01))


def held(network, optimizer, records=()):
    weights = state.snapshot(network)
    slots = state.optimizer_snapshot(optimizer)
    return state.Checkpoint(model=weights, averaged=weights, best=weights, optimizer=slots, records=list(records))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", ["adamw", "adam", "momentum", "nesterov", "sgd"])
def test_a_training_stopped_and_resumed_has_the_bits_of_one_that_was_not(name, memory_format, tmp_path):
    straight, unstopped = start(name, memory_format)
    records = list(loop.train_epochs(straight, unstopped, loader, EXAMPLES, PLAN))

    network, optimizer = start(name, memory_format)
    epochs = loop.train_epochs(network, optimizer, loader, EXAMPLES, PLAN)
    state.save(tmp_path, held(network, optimizer, [next(epochs), next(epochs)]))

    resumed, again = start(name, memory_format)
    saved = state.newest(tmp_path, again, say=pytest.fail)
    resumed.load_state_dict(saved.model)
    state.restore_optimizer(again, saved.optimizer)
    for parameter in resumed.parameters():
        for value in again.state[parameter].values():
            if isinstance(value, torch.Tensor) and value.ndim:
                assert (value.dtype, value.device, value.stride()) == (
                    parameter.dtype, parameter.device, parameter.stride()
                )  # fmt: skip
    plan = Plan(epochs=6, batch_size=4, first_epoch=2)
    found = saved.records + list(loop.train_epochs(resumed, again, loader, EXAMPLES, plan))
    without_times = [[{**line, "seconds": 0} for line in lines] for lines in (records, found)]
    assert without_times[0] == without_times[1]
    assert same(straight.state_dict(), resumed.state_dict())
    for one, other in zip(straight.parameters(), resumed.parameters()):
        assert same(
            {slot: torch.as_tensor(value) for slot, value in unstopped.state[one].items() if value is not None},
            {slot: torch.as_tensor(value) for slot, value in again.state[other].items() if value is not None},
        )


@pytest.mark.parametrize("best_is_newest", [True, False])
def test_the_best_weights_come_back_and_those_of_the_newest_epoch_are_written_once(tmp_path, best_is_newest):
    network, optimizer = start()
    averaged = state.snapshot(network)
    best = averaged if best_is_newest else {name: tensor + 1 for name, tensor in averaged.items()}
    checkpoint = state.Checkpoint(
        model=averaged, averaged=averaged, best=best, optimizer=optimizer.state_dict(), records=[{}]
    )
    state.save(tmp_path, checkpoint)
    assert (tmp_path / "epoch-0001" / "best.safetensors").exists() != best_is_newest
    read = state.newest(tmp_path, optimizer, say=pytest.fail)
    assert same(read.best, best)
    assert same(read.averaged, averaged)


def test_a_checkpoint_written_beside_training_is_that_of_its_moment(tmp_path):
    network, optimizer = start()
    moments = []
    with state.saving(tmp_path) as save:
        for record in loop.train_epochs(network, optimizer, loader, EXAMPLES, Plan(epochs=3, batch_size=4)):
            weights, slots = state.snapshot(network), state.optimizer_snapshot(optimizer)
            moments.append((weights, slots, copy.deepcopy(weights), copy.deepcopy(slots)))
            if record["epoch"] < 2:
                save(held(network, optimizer, [record] * len(moments)))
    for weights, slots, weights_then, slots_then in moments:  # later steps change nothing a thread may yet write
        assert same(weights, weights_then)
        assert all(same(slots["state"][number], of) for number, of in slots_then["state"].items())
    read = state.newest(tmp_path, optimizer, say=pytest.fail)
    assert read.records[1]["epoch"] == 1
    assert same(read.model, moments[1][0])
    assert not same(read.model, moments[2][0])
    assert all(same(read.optimizer["state"][number], of) for number, of in moments[1][1]["state"].items())


def test_two_checkpoints_are_kept_and_what_a_killed_writer_left_goes(tmp_path):
    network, optimizer = start()
    (tmp_path / ".epoch-0009.abcdefgh").mkdir()
    (tmp_path / "mine").mkdir()
    with state.saving(tmp_path) as save:
        for count in range(1, 5):
            save(held(network, optimizer, [{}] * count))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0003", "epoch-0004", "mine"]


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_found_and_the_one_before_is_used(tmp_path):
    network, optimizer = start()
    for count in (1, 2):
        state.save(tmp_path, held(network, optimizer, [{"epoch": count}] * count))
    coin = random.Random(0)
    for file in sorted((tmp_path / "epoch-0002").iterdir()):
        whole = file.read_bytes()
        for _ in range(200):
            place = coin.randrange(len(whole))
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << coin.randrange(8)]) + whole[place + 1 :])
            with pytest.raises(ModelFileError, match="is damaged"):
                state.load(tmp_path / "epoch-0002", optimizer)
        lines = []
        assert len(state.newest(tmp_path, optimizer, say=lines.append).records) == 1
        assert ["epoch-0002 is damaged; it is not used" in line for line in lines] == [True]
        file.write_bytes(whole)
    for path in tmp_path.glob("epoch-*"):
        os.remove(path / "model.safetensors")
    assert state.newest(tmp_path, optimizer, say=lines.append) is None
    state.save(tmp_path, held(network, optimizer, [{}]))  # the damaged ones are not taken for newer
    assert [path.name for path in state.generations(tmp_path)] == ["epoch-0001"]


def test_a_checkpoint_without_room_is_said_once_and_the_next_one_tried(tmp_path):
    (tmp_path / "file").write_text("")
    network, optimizer = start()
    lines = []
    with state.saving(tmp_path / "file" / "checkpoints", say=lines.append) as save:
        for count in (1, 2, 3):
            save(held(network, optimizer, [{}] * count))
            if count == 2:
                (tmp_path / "file").unlink()  # there is room again
    assert len(lines) == 1
    assert "training goes on" in lines[0]
    assert state.generations(tmp_path / "file" / "checkpoints")[0].name == "epoch-0003"


def test_the_oldest_checkpoint_makes_room_for_the_newest(tmp_path, monkeypatch):
    network, optimizer = start()
    for count in (1, 2):
        state.save(tmp_path, held(network, optimizer, [{}] * count))
    write, left = state._write, []

    def full(folder, checkpoint):
        left.append([path.name for path in state.generations(folder)])
        if len(left[-1]) == 2:
            raise StorageError("no space")
        write(folder, checkpoint)

    monkeypatch.setattr(state, "_write", full)
    state.save(tmp_path, held(network, optimizer, [{}] * 3))
    assert left == [["epoch-0002", "epoch-0001"], ["epoch-0002"]]
    assert [path.name for path in state.generations(tmp_path)] == ["epoch-0003", "epoch-0002"]


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", ["adamw", "adam", "momentum", "nesterov", "sgd"])
def test_what_is_read_back_lies_where_the_weights_lie_and_as_they_do(name, memory_format, tmp_path):
    """Written by a CPU and read for another device, as the fused kernels of a GPU demand it."""
    network, optimizer = start(name)
    records = list(loop.train_epochs(network, optimizer, loader, EXAMPLES, Plan(epochs=1, batch_size=4)))
    state.save(tmp_path, held(network, optimizer, records))
    elsewhere = start(name)[0].to(memory_format=memory_format).to("meta")
    again = optim.make(name, optim.groups_of(elsewhere.parameters(), lr=0.05, l2=0.01))
    state.restore_optimizer(again, state.newest(tmp_path, again, say=pytest.fail).optimizer)
    seen = 0
    for parameter in elsewhere.parameters():
        for value in again.state[parameter].values():
            if isinstance(value, torch.Tensor) and value.ndim:
                seen += 1
                assert (value.dtype, value.device, value.layout, value.stride()) == (
                    parameter.dtype, parameter.device, parameter.layout, parameter.stride()
                )  # fmt: skip
    slots = {"adamw": 2, "adam": 2, "momentum": 1, "nesterov": 1, "sgd": 0}[name]
    assert seen == slots * len(list(elsewhere.parameters()))
