"""The running average of a network is torch's, of what training changes, and waits for no device."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from transferkit.train.average import RunningAverage


class Tied(nn.Module):
    """A frozen layer, BatchNorm, and two layers with the same weights."""

    def __init__(self):
        super().__init__()
        self.frozen, self.norm = nn.Linear(3, 4).requires_grad_(False), nn.BatchNorm1d(4)
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(self.one(self.norm(self.frozen(x))))


def test_it_is_torchs_average_after_every_step():
    network = Tied()
    expected = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.7), use_buffers=True)
    expected.update_parameters(network)
    before = copy.deepcopy(network.state_dict())
    average = RunningAverage(network, decay=0.7)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(4):
        network.train()
        network(torch.randn(6, 3)).square().sum().backward()
        optimizer.step()
        expected.update_parameters(network)
        average.update()
        for name, tensor in expected.module.state_dict().items():
            assert torch.equal(average.network.state_dict()[name], tensor), name
    changed = [name for name, tensor in average.network.state_dict().items() if not torch.equal(tensor, before[name])]
    assert {"norm.running_mean", "one.weight", "other.weight", "norm.bias"} <= set(changed)
    assert not [name for name in changed if name.startswith("frozen")]
