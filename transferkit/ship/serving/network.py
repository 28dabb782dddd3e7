"""The process in which the network runs, so that connections and network never wait for one interpreter.

In one process a network gives the interpreter back between its operations and then waits for the event loop, some 150
times a batch: on a busy machine it answered 0.6 photos a second of 20.
"""

import socket
import subprocess
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from transferkit.ship.prediction import Prediction
from transferkit.zoo import children
from transferkit.zoo.errors import RankLostError

BATCH = 32  # photos, as `Classifier.stream` takes at once
GRACE_SECONDS = 5  # for the process to end


@dataclass(frozen=True, kw_only=True)
class About:
    """What is served: its classes, and whether it names one of them an image."""

    classes: tuple[str, ...]
    names_one: bool


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The model to load and how it answers, as the options of `serve` say it; abstains, whether a doubt is told."""

    model: str
    device: str = "auto"
    bit_depth: int | None = None
    top: int = 1
    max_error: float | None = None
    abstains: bool = True


class _Process:
    """The process, and a connection to it. Nobody else has this end, so it notices when this process is gone."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        with theirs:
            command = children.command("transferkit.ship.serving.process", str(theirs.fileno()))
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for us
            )
        self._connection = Connection(ours.detach())

    @property
    def is_lost(self) -> bool:
        return self._popen.poll() is not None

    def asked(self, question: Any) -> Any:
        """What it answers. Raises: the error that it answers with, RankLostError if it is gone."""
        try:
            self._connection.send(question)
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            code = self.end()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise RankLostError(
                f"the process of the network was lost ({how}); the machine may be out of memory"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> int:
        """Its exit code. It ends when nobody asks any more; one that is at work is killed in the end."""
        self._connection.close()
        try:
            return self._popen.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()


class Network:
    """A classifier in a process of its own, called with photos; if that process is lost, the next call starts another.

    Raises: at the start as `classifier.load`; RankLostError if the process is lost.
    """

    def __init__(self, wanted: Wanted):
        self._wanted = wanted
        self._process, self.about = self._started()

    def __call__(self, photos: list[bytes]) -> list[Prediction]:
        """The answer to each file of an image, in order. Raises: what the classifier raises; RankLostError."""
        if self._process.is_lost:
            self._process, self.about = self._started()
        return self._process.asked(photos)

    def close(self) -> None:
        """End the process."""
        self._process.end()

    def _started(self) -> tuple[_Process, About]:
        process = _Process()
        try:
            return process, process.asked(self._wanted)
        except BaseException:
            process.end()
            raise
