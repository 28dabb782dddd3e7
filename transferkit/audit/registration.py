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
FAINT = 0.05  # of details: a photo without any has no copies
AROUND = 1 / 5  # of the longer side
NOISE = 8  # grey levels of compression, which is not made to count
BLACK, WHITE = 5, 250  # what is lost beyond says nothing
LEAST_CLEAR = 0.1  # of what is shown
REFINED = (0.3, 0.97)  # likenesses that a better placing may change what comes of them
STEPS = 15
LOOK_PX = 16
LEAST_LOOK = 0.7  # correlation in so few pixels


def likeness(first: Print, second: Print, *, mirrored: int) -> float:
    """The correlation of details of two photos laid on each other, -1 to 1; 0 where they show too little in common.

    It does not change with brightness and contrast, and little with size, crop and compression.
    Source: placing by RANSAC, Fischler and Bolles 1981, https://doi.org/10.1145/358669.358692, then by Evangelidis and
    Psarakis 2008, https://doi.org/10.1109/TPAMI.2008.113, as OpenCV has them.
    """
    import cv2

    lower, upper = first.grey, second.view(mirrored)
    details = _details(lower, lower.shape)
    placing = _stretched(lower, upper)
    best = _alike(lower, details, upper, placing) if _may_fill(lower, upper) else 0.0
    if best > REFINED[1]:
        return best
    turned = _by_corners(first, second, mirrored)
    if turned is not None and (alike := _alike(lower, details, upper, turned)) > best:
        best, placing = alike, turned
    if REFINED[0] < best <= REFINED[1]:
        with suppress(cv2.error):  # where it does not converge
            best = max(best, _alike(lower, details, upper, _refined(lower, upper, placing)))
    return best


def _may_fill(lower: np.ndarray, upper: np.ndarray) -> bool:
    """Whether two photos look so much alike as a whole that one may be the other in the same frame."""
    import cv2

    size = (LOOK_PX, LOOK_PX)
    a, b = (cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32) for grey in (lower, upper))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum()) >= LEAST_LOOK * math.sqrt(float((a * a).sum()) * float((b * b).sum()))


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


def _alike(lower: np.ndarray, details: np.ndarray, upper: np.ndarray, placing: np.ndarray) -> float:
    """The correlation of details where both are, and neither is black or white."""
    import cv2

    height, width = lower.shape
    laid = cv2.warpAffine(upper, placing, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    frame = cv2.warpAffine(np.ones(upper.shape, np.uint8), placing, (width, height), flags=cv2.INTER_NEAREST)
    shown = cv2.erode(frame, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
    size = min(lower.size, upper.size * abs(np.linalg.det(placing[:, :2])))
    if shown.sum() < max(LEAST_PIXELS, LEAST_SHOWN * size):
        return 0.0
    clear = shown & (np.minimum(lower, laid) > BLACK) & (np.maximum(lower, laid) < WHITE)
    if clear.sum() > LEAST_CLEAR * shown.sum():
        shown = clear
    a, b = details[shown], _details(laid, lower.shape)[shown]
    a, b = a - a.mean(), b - b.mean()
    powers = float((a * a).sum()), float((b * b).sum())
    return float((a * b).sum()) / math.sqrt(math.prod(powers)) if min(powers) > len(a) * FAINT**2 else 0.0


def _details(grey: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What is smaller than a part of the longer side of `shape`, over how strong such is around it.

    So one dark thing on a plain ground does not decide alone.
    """
    import cv2

    levels, side = grey.astype(np.float32), max(shape)
    found = levels - cv2.GaussianBlur(levels, (0, 0), max(1.0, DETAIL * side))
    around = 2 * round(AROUND * side / 2) + 1
    power = cv2.blur(found * found, (around, around))  # by running sums, which may end below 0
    return found / (np.sqrt(np.maximum(power, 0)) + NOISE)
