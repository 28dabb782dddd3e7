"""The one thread that asks the network, for all requests together."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from transferkit.ship.serving.network import BATCH

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Job:
    """Photos of one request, and where the answers to them are awaited."""

    photos: Sequence[bytes]
    answers: "Future[list]" = field(default_factory=Future)


class Worker:
    """Answers jobs in the order in which they come; those that wait are answered in one batch.

    Nobody waits for a batch to fill up: while the network is at work on one, the next one gathers.
    """

    def __init__(self, answer: Callable[[list[bytes]], list[T]], *, batch: int = BATCH):
        self._answer, self._batch = answer, batch
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="transferkit-network", daemon=True)
        self._thread.start()

    def submit(self, photos: Sequence[bytes]) -> "Future[list[T]]":
        """What `answer` will have given for each photo."""
        job = Job(photos=photos)
        self._jobs.put(job)
        return job.answers

    @property
    def is_alive(self) -> bool:
        """Whether jobs are answered."""
        return self._thread.is_alive()

    def stop(self, *, seconds: float) -> None:
        """Answer what was submitted before and end; wait for that so long."""
        self._jobs.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while jobs := self._waiting():
            jobs = [job for job in jobs if job.answers.set_running_or_notify_cancel()]
            if not self._done(jobs, is_last=len(jobs) == 1):
                for job in jobs:  # one photo of one of them is at fault: the others get their answers
                    self._done([job], is_last=True)

    def _waiting(self) -> list[Job]:
        """The next job, and those after it that fill up the batch; none at the end."""
        found, job = [], self._jobs.get()
        with suppress(queue.Empty):
            while job:
                found.append(job)
                if sum(len(each.photos) for each in found) >= self._batch:
                    return found
                job = self._jobs.get_nowait()
            self._jobs.put(None)  # the end, after those found so far
        return found

    def _done(self, jobs: list[Job], *, is_last: bool) -> bool:
        """Whether these were answered; of those that fail and are the last try, whoever waits gets the error."""
        try:
            given = iter(self._answer([photo for job in jobs for photo in job.photos]))
            found = [[next(given) for _ in job.photos] for job in jobs]
        except BaseException as error:
            if is_last:
                for job in jobs:
                    job.answers.set_exception(error)
            return is_last
        for job, answers in zip(jobs, found):
            job.answers.set_result(answers)
        return True
