"""Every error that transferkit raises for a user, and the exit code that the command line gives it.

TransferkitError            1   a bug, if nothing below fits
├── UsageError              2   wrong option, missing path, unknown name
│   └── KindError           2   an object of a kind that is not taken; also a TypeError
├── DataError               3   the images or labels are refused
├── ModelFileError          4   a weights or model file is refused
├── StorageError            5   disk full, no permission
├── NetworkError            6   a download failed
├── RunConflictError        7   the run folder is in use, or belongs to another run
├── DivergedError           8   the loss is no longer finite
├── MemoryExhaustedError    9   out of memory
├── ParityError            10   an export does not give the answers of the model
├── RankLostError          11   one of the processes that share a run is gone
└── EndedElsewhereError     *   another of them failed, with this exit code, and says why

StoppedError               75   stopped by SIGTERM (130: by Ctrl-C); no error, so nothing that catches Exception sees it

A message is one line: what was given, what is allowed, where, and what to do.
"""

OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "STATUS_ALLOC_FAILED",
)  # in torch's RuntimeErrors


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says, in Python's way or torch's, that memory ran out; then it says nothing of a file."""
    is_torch = isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    return isinstance(error, MemoryError) or is_torch


class TransferkitError(Exception):
    """The root of all errors meant for a user; `exit_code` is what the process ends with."""

    exit_code = 1


class UsageError(TransferkitError):
    """A wrong option, a path that does not exist, or a name nobody knows."""

    exit_code = 2


class KindError(UsageError, TypeError):
    """An object of a kind that is not taken; a TypeError too, as Python programmers expect."""


class DataError(TransferkitError):
    """Images or labels that cannot be trained on or scored."""

    exit_code = 3


class ModelFileError(TransferkitError):
    """A weights file or a model folder that is damaged, foreign or does not fit."""

    exit_code = 4


class StorageError(TransferkitError):
    """The disk is full, or the place may not be written or read."""

    exit_code = 5


class NetworkError(TransferkitError):
    """A download failed."""

    exit_code = 6


class RunConflictError(TransferkitError):
    """The run folder is in use or belongs to something else."""

    exit_code = 7


class DivergedError(TransferkitError):
    """Training reached a loss that is not finite; `epoch` is the best one before, from 1, None if there is none."""

    exit_code = 8
    epoch: int | None = None


class MemoryExhaustedError(TransferkitError):
    """The machine or the accelerator ran out of memory."""

    exit_code = 9


class ParityError(TransferkitError):
    """An exported file gives other answers than the model it came from."""

    exit_code = 10


class RankLostError(TransferkitError):
    """Another of the processes that share a run was killed, or does not answer."""

    exit_code = 11


class EndedElsewhereError(TransferkitError):
    """Another of the processes that share a run failed first and says why; this one ends with its exit code."""

    def __init__(self, exit_code: int):
        super().__init__("another process of this run failed")
        self.exit_code = exit_code


class StoppedError(BaseException):
    """A signal asked for the end: 75 after SIGTERM, 130 after Ctrl-C.

    As KeyboardInterrupt, it is no Exception: code that takes whatever a library raises for a damaged photo, or for a
    network that cannot be compiled, would take the stop for that.
    """

    exit_code = 75


def of_network(error: Exception, name: str, *, is_foreign: bool) -> Exception:
    """What to raise where a network could not be built: of somebody's configuration, that it is wrong."""
    if isinstance(error, (TransferkitError, OSError)) or is_out_of_memory(error) or not is_foreign:
        return error
    return ModelFileError(f"the network of {name} cannot be built: {error}")
