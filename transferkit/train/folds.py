"""Of few images, the same fine-tuning on other parts of them: each image judges, and the weights are averaged."""

from dataclasses import replace

import numpy as np
import torch

from transferkit import kinds
from transferkit.tasks.split import MOST_FOLDS, fold_count
from transferkit.train import descent, head, state, wise_ft
from transferkit.train.descent import Descent
from transferkit.train.head import ProbeFit
from transferkit.train.modes import TrainingMode
from transferkit.train.problem import Problem
from transferkit.train.wise_ft import Mixture, Way
from transferkit.zoo.errors import DivergedError


def mixture(problem: Problem, mode: TrainingMode, probe: ProbeFit, first: Way, descended: Descent) -> Mixture | None:
    """The mixture of `first` and of the same training on other parts of the images, which is left in the network.

    None where there are many images, or no time, or a class has fewer than two to train on; and where a fit diverges,
    or the mean of the weights is no network that knows the images.

    Args: first, from the training images alone, by what has `descended`.
    """
    train = problem.train
    counts = train.task.counts(train.labels[train.rows], train.num_classes)
    if not problem.are_few or counts.min() < 2:
        return None
    if not problem.context.deadline.allows(MOST_FOLDS * descended.epochs * descended.seconds):
        return None
    say = problem.context.reporter.say
    try:
        found = wise_ft.find(problem, mode, [first, *_others(problem, mode, probe, first, epochs=descended.epochs)])
    except DivergedError as error:
        say(f"the first fit is gone on with, one of the others diverged: {error}")
        return None
    if found is None:
        say("the first fit is gone on with: the mean of the weights of all knows the images less than each does")
    return found


def _others(problem: Problem, mode: TrainingMode, probe: ProbeFit, first: Way, *, epochs: int) -> list[Way]:
    """Train from the probe on all images but a fold of those to train on, for each fold.

    There are as many folds as make them as large as the validation part, up to `MOST_FOLDS`. Raises: DivergedError.
    """
    train, val = problem.train, problem.val
    both = np.sort(np.concatenate([train.rows, val.rows]))
    count = fold_count(len(train.rows), len(val.rows))
    groups = None if problem.groups is None else problem.groups[train.rows]
    fold = train.task.folds(train.labels[train.rows], count, seed=problem.hyperparameters.seed, groups=groups)
    problem.context.reporter.say(f"{count} more fits of {epochs} epoch{'s' * (epochs > 1)}, each without another part")
    context = replace(problem.context, plan=kinds.present(problem.context.plan).shortened(epochs))
    ways = []
    for number in range(count):
        held = train.rows[fold == number]
        examples = replace(train, rows=np.setdiff1d(both, held))
        mode.restart()
        linear = head.fitted_like(probe, problem, examples.rows)
        linear.put_into(problem.model)
        start = {  # the head alone is another one
            name: old if torch.equal(old, tensor) else tensor
            for (name, old), tensor in zip(first.start.items(), state.snapshot(mode.network).values())
        }
        descent.repeat(mode.network, mode.optimizer(), mode.loader, examples, context)
        ways.append(Way(start=start, end=state.snapshot(mode.network), rows=held))
    return [way for way in ways if len(way.rows)]
