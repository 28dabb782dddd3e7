"""Learning-rate schedules: pure functions of the step, returning a factor on the base rate."""

import math


def warmup_cosine(step: int, *, steps: int, warmup: int) -> float:
    """Rise linearly over `warmup` steps, then fall along half a cosine to zero at `steps`.

    Source: Loshchilov and Hutter 2017, equation 5, https://arxiv.org/abs/1608.03983

    >>> [round(warmup_cosine(step, steps=6, warmup=2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
