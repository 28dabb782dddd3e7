"""LogME: how well a linear model explains labels by features, without fitting one to each."""

import numpy as np

ITERATIONS = 100  # the fixed point is reached in a few, or where features are more than images in dozens
CLOSE = 1e-3  # relative change at which it is
TINY = 1e-5  # keeps a precision finite where nothing is left over


def logme(features: np.ndarray, targets: np.ndarray) -> float:
    """The log evidence an image of linear models of the targets, its mean over them: higher is better.

    Shapes: features (n, D); targets (n, K) of 0 and 1.
    Source: You et al. 2021, algorithm 1, https://arxiv.org/abs/2102.11005
    """
    x = features.astype(np.float64)
    u, singular, _ = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ targets  # (k, K)
    rest = np.maximum((targets**2).sum(0) - (projected**2).sum(0), 0)  # outside of what the features span
    return float(np.mean([_evidence(singular**2, projected[:, k] ** 2, rest[k], x.shape) for k in range(len(rest))]))


def _evidence(sigma: np.ndarray, squares: np.ndarray, rest: float, shape: tuple[int, int]) -> float:
    """That of one target. Args: sigma (k,), squared singular values; squares (k,), of the target along them."""
    count, width = shape
    alpha = beta = 1.0  # the precisions of weights and of noise
    for _ in range(ITERATIONS):
        ratio = alpha / beta
        effective = (sigma / (sigma + ratio)).sum()
        weights = (sigma * squares / (sigma + ratio) ** 2).sum()
        left = (squares / (1 + sigma / ratio) ** 2).sum() + rest
        alpha, beta = effective / (weights + TINY), (count - effective) / (left + TINY)
        if abs(alpha / beta - ratio) <= CLOSE * ratio:
            break
    logs = width * np.log(alpha) + count * np.log(beta / (2 * np.pi))
    logs -= np.log(alpha + beta * sigma).sum() + (width - len(sigma)) * np.log(alpha)
    return float(logs - beta * left - alpha * weights) / (2 * count)
