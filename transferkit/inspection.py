"""The audit of a data set: one first pass as every run has it, then what its features, hashes and small photos tell."""

from dataclasses import replace

import numpy as np

from transferkit import caches, kinds, policy
from transferkit.audit import cues, near_copies, shortcuts, suspects
from transferkit.audit.findings import Findings
from transferkit.audit.suspects import Suspects
from transferkit.messages import Reporter
from transferkit.preparation import Prepared, numbers, problem_of, reader_of
from transferkit.progress import Progress
from transferkit.train import division, first_pass, head
from transferkit.train.context import FitContext
from transferkit.train.first_pass import FirstPass
from transferkit.train.problem import Problem
from transferkit.zoo.errors import DataError, DivergedError

MANY = "shortcuts are looked for where each image has one class"


def inspect(prepared: Prepared, progress: Progress) -> Findings:
    """What is wrong with the images of a run that would fit a head; what it computes is kept for runs that follow.

    Raises: DataError if a class has no readable image left.
    """
    with prepared.arithmetic():
        taken = first_pass.read_images(prepared.listing, reader_of(prepared), progress=progress)
        cache = caches.folder_of(prepared.given)
        pairs = near_copies.find(taken, photos=prepared.photos, progress=progress, cache=cache)
        taken = replace(taken, pairs=tuple(pairs))
        judged, notes = _judged(prepared, taken, progress)
    seen = cues.look(taken.listing.paths, prepared.photos, progress=progress)
    told = []
    if taken.listing.task.names_one:
        told = shortcuts.find(taken.listing, seen, bytes=taken.bytes, groups=taken.groups)
    else:
        notes.append(MANY)
    return Findings(
        every=prepared.listing,
        taken=taken,
        suspects=judged,
        cues=seen,
        shortcuts=told,
        notes=tuple(notes),
        backbone=prepared.model.card.name,
    )


def _judged(prepared: Prepared, taken: FirstPass, progress: Progress) -> tuple[Suspects | None, list[str]]:
    """The suspects, and notes; None where too few images are there to judge by."""
    given = prepared.given
    try:
        divided = division.divide(taken, fraction=given.val_fraction, seed=given.seed, progress=Progress())
    except DataError as error:
        return None, [f"no label was judged: {error}"]
    config = numbers(prepared, images=int((divided.listing.parts == "train").sum()))
    prepared, divided, config, _ = policy.tried(prepared, divided, config, progress)
    context = FitContext(plan=None, patience=config.patience, reporter=Reporter())
    try:
        rows, logits = _unseen(problem_of(config, divided, prepared, context=context))
    except DivergedError as error:
        return None, [f"no label was judged: {error}"]
    task, labels = divided.listing.task, divided.listing.labels[rows]
    return suspects.find(rows, task.probabilities(np.asarray(logits, float)), labels), []


def _unseen(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """All rows (N,), and the logits (N, K) of each by a probe that was not fitted to it."""
    plain = kinds.present(problem.features).plain
    probe = head.solve(problem, l2=None)
    every = np.arange(len(plain))
    logits = np.empty((len(plain), problem.train.num_classes), np.float32)
    both = np.sort(np.concatenate([problem.train.rows, problem.val.rows]))
    test = np.setdiff1d(every, both)
    logits[test] = probe.final.predict(plain, test)
    if probe.by_cross_validation:
        logits[probe.rows] = probe.logits
        return every, logits
    task, labels = problem.train.task, problem.train.labels[both]
    groups = None if problem.groups is None else problem.groups[both]
    folds = task.folds(labels, head.FOLDS, seed=problem.hyperparameters.seed, groups=groups)
    for fold in np.unique(folds):  # many images: one fit a fold, with the L2 that is chosen already
        fitted = head.fitted_like(probe, problem, both[folds != fold])
        logits[both[folds == fold]] = fitted.predict(plain, both[folds == fold])
    return every, logits
