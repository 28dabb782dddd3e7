"""Two real processes on this machine against one."""

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
import torch

from tests import two_ranks
from transferkit import ranks, rendezvous
from transferkit.train import loop
from transferkit.zoo import stops
from transferkit.zoo.errors import RankLostError


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What tests/two_ranks.py left, run by two ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-m", "tests.two_ranks", str(folder)]
    started = [subprocess.Popen(command, env=shared | {"RANK": str(number)}) for number in range(2)]
    assert [process.wait(60) for process in started] == [0, 0]
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return [json.loads((folder / f"{number}.json").read_text()) for number in range(2)]


def states(folder, name):
    return [torch.load(folder / f"{name} {number}.pt", weights_only=True) for number in range(2)]


@pytest.mark.parametrize("name", two_ranks.PLANS)
def test_two_ranks_train_the_network_that_one_trains(name, folder, found):
    expected, _, records = two_ranks.trained(two_ranks.PLANS[name])
    first, second = states(folder, name)
    for parameter, value in expected.items():
        torch.testing.assert_close(first[parameter], value, rtol=0, atol=1e-5)
        assert torch.equal(first[parameter], second[parameter])
    for record, one in zip(found[0][f"{name}, records"], records, strict=True):
        assert record["train"] == pytest.approx(one["train"], abs=1e-6)
        assert record["lrs"] == one["lrs"]


@pytest.mark.parametrize("name", ["equal parts", "unequal parts", "sampled"])
def test_the_parts_of_the_ranks_joined_are_the_batches_of_one_rank_in_order(name, found):
    joined = [first + second for first, second in zip(found[0][name], found[1][name], strict=True)]
    assert joined == two_ranks.trained(two_ranks.PLANS[name])[1]
    assert all(abs(len(first) - len(second)) <= 1 for first, second in zip(found[0][name], found[1][name]))


def test_batch_norm_differs_from_one_rank_but_not_between_the_ranks(folder):
    first, second = states(folder, "normalised")
    assert all(torch.equal(first[name], second[name]) for name in first)
    one = two_ranks.trained(two_ranks.PLANS["equal parts"], normalises=True)[0]
    assert not torch.allclose(first["4.weight"], one["4.weight"], atol=1e-5)


def test_the_running_mean_of_two_ranks_is_that_of_whole_batches(folder):
    one = two_ranks.trained(two_ranks.PLANS["equal parts"], normalises=True, lr=0.0)[0]
    torch.testing.assert_close(states(folder, "statistics")[0]["1.running_mean"], one["1.running_mean"])


def test_every_rank_has_the_logits_that_one_process_computes_bit_for_bit(folder):
    expected = two_ranks.logits()
    for number in range(2):
        assert np.array_equal(np.load(folder / f"logits {number}.npy"), expected)


def test_dropout_differs_between_ranks_and_the_first_draws_as_one_process_does(found):
    assert found[0]["drawn"] == two_ranks.drawn()
    assert found[1]["drawn"] != found[0]["drawn"]


@pytest.mark.parametrize("number", [0, 1])
def test_ranks_do_not_divide_a_batch_that_is_too_large(number, found):
    assert found[number]["divided"] == ["out of memory"]
    assert two_ranks.divided() == [
        "out of memory: batches of 8 are computed in 2 micro-batches of 4",
        "out of memory: batches of 8 are computed in 4 micro-batches of 2",
        "out of memory",
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_features_that_one_rank_may_not_keep_are_kept_by_none(number, found):
    assert found[number]["kept"] is False


@pytest.mark.parametrize("number", [0, 1])
def test_every_rank_gets_what_is_exchanged(number, found):
    assert found[number]["exchanged"] == {
        "gathered": [{"rank": 0, "name": "\udcffé"}, {"rank": 1, "name": "\udcffé\udcffé"}],
        "first": 0.1,
        "names": ["a" * 64, "é", "", "b"],
        "table": [[0.0, 0.0]] * 3,
        "total": [2.0, 1.0],
        "mean": [[0.5, 0.5]] * 2,
        "copied": [0.0, 0.0],
        "blocks": [[0, 64], [64, 100]],
        "shards": [[[0, 1], [0, 1, 2], [0, 1, 2]], [[], [], [3, 4]]][number],
    }


def test_an_error_of_one_rank_is_told_by_it_alone_and_ends_the_other_with_the_same_exit_code(found):
    assert found[1]["error"] == ["DataError", "only rank 1 sees this", 3]
    assert found[0]["error"] == ["EndedElsewhereError", "another process of this run failed", 3]


def test_one_process_exchanges_nothing_and_does_all_the_work():
    with ranks.joined():
        assert (ranks.size(), ranks.rank(), ranks.is_first()) == (1, 0, True)
        assert ranks.gather(3) == [3]
        assert ranks.total([0.1, 2]) == [0.1, 2]
    loader = iter
    assert loop.divided(loader) is loader
    loaded = (
        "import sys; from transferkit import ranks\nwith ranks.joined(): ranks.gather(1)\nprint('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "False\n"


def test_who_waits_in_vain_for_another_process_is_told_so(tmp_path, monkeypatch):
    for name, value in {stops.LAUNCH: str(tmp_path), "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RankLostError, match=r"^1 of the 2 processes of this run did not start within 0\.2 seconds; "):
        rendezvous.meet(timeout=timedelta(seconds=0.2))
