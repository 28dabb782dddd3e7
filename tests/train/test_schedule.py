import pytest
import torch

from transferkit.train import schedule


def test_warmup_cosine_is_torchs_linear_and_cosine_in_a_row():
    steps, warmup = 20, 5
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, 1.0, total_iters=warmup - 1)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup)
    for step in range(steps):
        assert schedule.warmup_cosine(step, steps=steps, warmup=warmup) == pytest.approx(
            optimizer.param_groups[0]["lr"]
        )
        optimizer.step()
        (rise if step < warmup - 1 else fall).step() if step != warmup - 1 else None


def test_the_rate_is_never_zero_or_negative_before_the_end():
    assert all(schedule.warmup_cosine(step, steps=7, warmup=0) > 0 for step in range(7))
