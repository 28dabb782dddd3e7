"""What each of several ranks takes of a batch, weighs it by and draws: by numbers alone, without other processes."""

import numpy as np
import pytest
import torch
from torch import nn

from transferkit import ranks
from transferkit.train import replica

WEIGHTS = np.random.default_rng(0).uniform(0.5, 3, 40)


@pytest.fixture
def on_ranks(monkeypatch):
    """What a function gives on each of so many ranks."""

    def on_ranks(size, function):
        monkeypatch.setattr(ranks, "size", lambda: size)
        found = []
        for number in range(size):
            monkeypatch.setattr(ranks, "rank", lambda number=number: number)
            found.append(function())
        return found

    return on_ranks


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("count", [2, 3, 5, 16])
def test_the_parts_are_the_batch_and_their_weights_those_of_a_mean_over_it(size, count, on_ranks):
    batch, losses = np.arange(40)[-count:], np.random.default_rng(1).normal(size=40)
    parts = on_ranks(size, lambda: replica.part(batch))
    assert min(map(len, parts)) >= 2
    for weights in (None, WEIGHTS):
        shares = on_ranks(size, lambda weights=weights: replica.share(batch, weights))
        taken = np.concatenate([part for part, share in zip(parts, shares) if share])
        assert taken.tolist() == batch.tolist()
        assert np.count_nonzero(shares) == min(size, count // 2)  # as many as can have two images
        means = [np.average(losses[part], weights=None if weights is None else weights[part]) for part in parts]
        expected = np.average(losses[batch], weights=None if weights is None else weights[batch])
        assert np.dot(shares, means) == pytest.approx(expected)


def test_the_statistics_that_move_are_those_of_batchnorm_layers_in_training():
    still, moving = nn.BatchNorm1d(3), nn.BatchNorm2d(4)
    network = nn.Sequential(nn.Linear(3, 3), still, moving, nn.BatchNorm1d(3, track_running_stats=False)).train()
    still.eval()
    found = replica.statistics(network)
    assert [id(held) for held in found] == [id(moving.running_mean), id(moving.running_var)]


def test_modules_draw_otherwise_in_each_step_epoch_and_rank_and_the_same_again():
    def drawn(**about):
        replica.seed_step(about.pop("seed", 0), **({"epoch": 0, "step": 0} | about))
        return torch.rand(4).tolist()

    several = [drawn(), drawn(epoch=1), drawn(step=1), drawn(seed=1)]
    assert len({tuple(each) for each in several}) == 4
    assert drawn(step=1) == several[2]


def test_ranks_draw_what_is_their_own(on_ranks):
    def drawn():
        replica.seed_step(0, epoch=0, step=0)
        return tuple(torch.rand(4).tolist())

    alone = drawn()
    found = on_ranks(3, drawn)
    assert len(set(found)) == 3
    assert found[0] == alone


def test_one_rank_trains_the_network_itself():
    network = nn.Linear(2, 2)
    assert replica.replicated(network) is network
