"""Randomness as a function: every draw is made from (seed, purpose, epoch, index), so nothing depends on order.

Source: the idea of counter-based streams, Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405
"""

import hashlib

import numpy as np


def integer(seed: int, purpose: str, epoch: int = 0, index: int = 0) -> int:
    """A number in 0 .. 2**32 - 1 that is a pure function of its arguments.

    >>> integer(0, "split") == integer(0, "split"), integer(0, "split") == integer(1, "split")
    (True, False)
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{epoch}/{index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def generator(seed: int, purpose: str, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """A NumPy generator that is a pure function of its arguments.

    >>> int(generator(0, "order", epoch=3).integers(100)) == int(generator(0, "order", epoch=3).integers(100))
    True
    """
    return np.random.default_rng(integer(seed, purpose, epoch, index))
