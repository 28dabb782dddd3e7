"""The audit of a data set: one first pass as every run has it, then what its features, hashes and small photos tell."""

import shlex

import numpy as np

from transferkit import caches, kinds, policy, seeds
from transferkit.audit import cues, near_copies, shortcuts, summary, suspects
from transferkit.audit.findings import Findings
from transferkit.audit.suspects import Suspects
from transferkit.data import remote
from transferkit.data.source import Member
from transferkit.messages import Reporter
from transferkit.preparation import Prepared, numbers, problem_of, reader_of
from transferkit.progress import Progress
from transferkit.train import division, head
from transferkit.train.context import FitContext
from transferkit.train.first_pass import FirstPass
from transferkit.train.problem import Problem
from transferkit.zoo.errors import DataError, DivergedError

MANY = "shortcuts are looked for where each image has one class"
AT_A_GLANCE = 300  # photos that every run looks at: half a second
SURE = 0.9  # of another answer, for a word in every run


def inspect(prepared: Prepared, progress: Progress) -> Findings:
    """What is wrong with the images of a run that would fit a head; what it computes is kept for runs that follow.

    Raises: DataError if a class has no readable image left.
    """
    with prepared.arithmetic():
        cache = caches.folder_of(prepared.given)
        taken = near_copies.read_images(prepared.listing, reader_of(prepared), progress=progress, cache=cache)
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
        divided = division.divide(taken, fraction=prepared.val_fraction, seed=given.seed, progress=Progress())
    except DataError as error:
        return None, [f"no label was judged: {error}"]
    config = numbers(prepared, divided.listing.parts)
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


def at_a_glance(prepared: Prepared, taken: FirstPass, rows: np.ndarray, logits: np.ndarray) -> list[str]:
    """A few lines on a run's images, of what it has at hand and a look at some photos; an error in it stops nothing.

    Shapes: rows (n,) of images that were judged by a fit without them, and their logits (n, K).
    """
    try:
        lines = [*_looks(prepared, taken), *_wrong_labels(taken, rows, logits)]
    except Exception as error:  # whatever is wrong with a photo, a run goes on
        lines = [f"the images were not looked at: {type(error).__name__}: {error}"]
    return [*lines, f"all of it: {shlex.join(['transferkit', 'audit', *taken.listing.arguments])}"] if lines else []


def _wrong_labels(taken: FirstPass, rows: np.ndarray, logits: np.ndarray) -> list[str]:
    listing = taken.listing
    found = suspects.find(rows, listing.task.probabilities(np.asarray(logits, float)), listing.labels[rows])
    sure = found.suspected[found.other[found.suspected] >= SURE]
    if not len(sure):
        return []
    first, label = int(rows[sure[0]]), listing.task.text(found.labels[sure[0]], listing.classes)
    are = "label is probably wrong" if len(sure) == 1 else "labels are probably wrong"
    return [f"{len(sure):,} {are}, of {len(rows):,}; first {listing.relative(first)}: {label}?"]


def _looks(prepared: Prepared, taken: FirstPass) -> list[str]:
    """Shortcuts and photos of nearly one colour, among some of the photos."""
    listing = taken.listing
    member = Member.of(listing.paths[0])
    if member and remote.is_remote(member.shard):  # they would be fetched again
        return []
    rows = np.sort(seeds.generator(prepared.given.seed, "glance").permutation(len(listing.labels))[:AT_A_GLANCE])
    some, groups = listing.subset(rows), None if taken.groups is None else taken.groups[rows]
    seen = cues.look(some.paths, prepared.photos, progress=Progress())
    lines = []
    if listing.task.names_one:
        found = shortcuts.find(some, seen, bytes=[taken.bytes[row] for row in rows], groups=groups)
        lines += [summary.shortcut_words(each) for each in found if each.is_strong]
    if count := int(seen.is_empty.sum()):
        lines.append(f"{count:,} of {len(rows):,} photos looked at {'is' if count == 1 else 'are'} nearly one colour")
    return lines
