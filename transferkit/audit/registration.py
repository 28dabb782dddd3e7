"""How alike two photos are where one is laid on the other: the correlation of their details in what both show."""

import math
from contextlib import suppress

import numpy as np

from transferkit.audit.prints import Print

DETAIL = 1 / 32  # of the longer side: larger shapes do not count, as merely similar photos share them
REACH = 64  # bits of 256 in which the same corner may differ
LEAST_CORNERS = 6  # that agree on how one photo lies on the other
TOLERANCE_PX = 2
LEAST_SHOWN = 0.4  # of the smaller photo, that both show
LEAST_PIXELS = 64
FAINT = 0.5  # grey levels: a photo without details has no copies
REFINED = (0.3, 0.97)  # likenesses that a better placing may change what comes of them
STEPS = 15


def likeness(first: Print, second: Print, *, mirrored: int) -> float:
    """The correlation of details of two photos laid on each other, -1 to 1; 0 where they show too little in common.

    It does not change with brightness and contrast, and little with size, crop and compression.
    Source: placing by RANSAC, Fischler and Bolles 1981, https://doi.org/10.1145/358669.358692, then by Evangelidis and
    Psarakis 2008, https://doi.org/10.1109/TPAMI.2008.113, as OpenCV has them.
    """
    import cv2

    lower, upper = first.grey, second.view(mirrored)
    best, placing = -1.0, None
    details = _details(lower, lower.shape)
    placing = _stretched(lower, upper)
    best = _alike(details, upper, placing)
    if best > REFINED[1]:
        return best
    turned = _by_corners(first, second, mirrored)
    if turned is not None and (alike := _alike(details, upper, turned)) > best:
        best, placing = alike, turned
    if REFINED[0] < best <= REFINED[1]:
        with suppress(cv2.error):  # where it does not converge
            best = max(best, _alike(details, upper, _refined(lower, upper, placing)))
    return best


def _stretched(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The placing (2, 3) in which both fill the same frame."""
    (height, width), (h, w) = lower.shape, upper.shape
    across, down = width / w, height / h
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]])


def _by_corners(first: Print, second: Print, mirrored: int) -> np.ndarray | None:
    """The placing (2, 3), of turn, size and shift, that most of the corners which look the same agree on."""
    import cv2

    below, above = first.corners[0], second.corners[mirrored]
    if min(len(below.places), len(above.places)) < LEAST_CORNERS:
        return None
    bits, nearest = cv2.batchDistance(  # type: ignore - a matrix product would start threads in each of ours
        below.descriptors, above.descriptors, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1, crosscheck=True
    )
    close = np.flatnonzero((nearest[:, 0] >= 0) & (bits[:, 0] <= REACH))
    if len(close) < LEAST_CORNERS:
        return None
    placing, agree = cv2.estimateAffinePartial2D(
        above.places[nearest[close, 0]],
        below.places[close],
        ransacReprojThreshold=TOLERANCE_PX,
        maxIters=300,
        confidence=0.99,
    )
    return placing if placing is not None and agree.sum() >= LEAST_CORNERS else None


def _refined(lower: np.ndarray, upper: np.ndarray, placing: np.ndarray) -> np.ndarray:
    import cv2

    back = cv2.invertAffineTransform(placing).astype(np.float32)
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, STEPS, 1e-3)
    _, back = cv2.findTransformECC(lower, upper, back, cv2.MOTION_AFFINE, until, None, 3)  # type: ignore
    return cv2.invertAffineTransform(back)


def _alike(details: np.ndarray, upper: np.ndarray, placing: np.ndarray) -> float:
    """The correlation of the lower photo's details with the upper one's where both are."""
    import cv2

    height, width = details.shape
    laid = cv2.warpAffine(upper, placing, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    frame = cv2.warpAffine(np.ones(upper.shape, np.uint8), placing, (width, height), flags=cv2.INTER_NEAREST)
    shown = cv2.erode(frame, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
    size = min(details.size, upper.size * abs(np.linalg.det(placing[:, :2])))
    if shown.sum() < max(LEAST_PIXELS, LEAST_SHOWN * size):
        return 0.0
    a, b = details[shown], _details(laid, details.shape)[shown]
    a, b = a - a.mean(), b - b.mean()
    powers = float((a * a).sum()), float((b * b).sum())
    return float((a * b).sum()) / math.sqrt(math.prod(powers)) if min(powers) > len(a) * FAINT**2 else 0.0


def _details(grey: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What is smaller than a part of the longer side of `shape`."""
    import cv2

    levels = grey.astype(np.float32)
    return levels - cv2.GaussianBlur(levels, (0, 0), max(1.0, DETAIL * max(shape)))
