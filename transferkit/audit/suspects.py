"""Labels that are probably wrong, by the answers of fits that have not seen the image: confident learning.

Source: Northcutt, Jiang and Chuang 2021, https://arxiv.org/abs/1911.00068: a class is held against a label only where
its probability is at least what images of that class have in the mean.
"""

from dataclasses import dataclass

import numpy as np

LEAST = 1e-9  # of a probability, before its logarithm


@dataclass(frozen=True, kw_only=True, eq=False)
class Suspects:
    """How suspicious each label is.

    Fields: rows (n,) of the images that were judged; suspicion (n,), the logarithm of what images of the class have as
    probability of it in the mean, over what this one has: the higher, the more suspicious; is_suspected (n,); labels
    (n, ...), what they would be; own and other (n,), the probabilities of the label, and of the other answer.
    """

    rows: np.ndarray
    suspicion: np.ndarray
    is_suspected: np.ndarray
    labels: np.ndarray
    own: np.ndarray
    other: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """The places of all judged images, the most suspicious first."""
        return np.argsort(-self.suspicion, kind="stable")

    @property
    def suspected(self) -> np.ndarray:
        """The places of those that are suspected, the most suspicious first."""
        order = self.order
        return order[self.is_suspected[order]]


def find(rows: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> Suspects:
    """The suspects among the labels of `rows`.

    Args: probabilities (n, K), each from a fit without the image; labels (n,) of numbers, or (n, K) of yes and no.
    """
    judge = _each_class if labels.ndim == 2 else _one_class
    return judge(rows, np.asarray(probabilities, float), labels)


def _one_class(rows: np.ndarray, p: np.ndarray, labels: np.ndarray) -> Suspects:
    every = np.arange(len(labels))
    counts = np.bincount(labels, minlength=p.shape[1])
    own = p[every, labels]
    usual = np.bincount(labels, own, minlength=p.shape[1]) / np.maximum(counts, 1)  # (K,)
    held = np.logical_and(p >= np.where(counts, usual, np.inf), p > own[:, None])
    is_suspected = np.asarray(held.any(1))
    best = np.where(held, p, -1.0).argmax(1)
    return Suspects(
        rows=rows,
        suspicion=np.log(np.maximum(usual[labels], LEAST)) - np.log(np.maximum(own, LEAST)),
        is_suspected=is_suspected,
        labels=np.where(is_suspected, best, labels),
        own=own,
        other=p[every, np.where(is_suspected, best, labels)],
    )


def _each_class(rows: np.ndarray, p: np.ndarray, labels: np.ndarray) -> Suspects:
    """Each class is a question of its own; of an image the most suspicious answer counts."""
    own = np.where(labels, p, 1 - p)  # (n, K)
    present, absent = labels.sum(0), (~labels).sum(0)  # (K,)
    usual_present = (p * labels).sum(0) / np.maximum(present, 1)
    usual_absent = ((1 - p) * ~labels).sum(0) / np.maximum(absent, 1)
    usual = np.where(labels, usual_present, usual_absent)
    against = np.where(labels, np.where(absent, usual_absent, np.inf), np.where(present, usual_present, np.inf))
    held = np.logical_and(1 - own >= against, own < 0.5)
    is_suspected = np.asarray(held.any(1))
    suspicion = np.log(np.maximum(usual, LEAST)) - np.log(np.maximum(own, LEAST))
    worst = np.where(is_suspected[:, None] & ~held, -np.inf, suspicion).argmax(1)
    every = np.arange(len(labels))
    return Suspects(
        rows=rows,
        suspicion=suspicion[every, worst],
        is_suspected=is_suspected,
        labels=labels ^ held,
        own=own[every, worst],
        other=1 - own[every, worst],
    )
