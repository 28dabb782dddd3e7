"""The same bytes in every run: on a GPU by choice, and at a price; on a CPU anyway."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transferkit.zoo.errors import UsageError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # with which cuBLAS repeats itself, read when CUDA starts
WORKSPACES = (":4096:8", ":16:8")
ON, OFF = (
    "kernels that repeat: the same bytes from the same command on this machine",
    "kernels as fast as they come: on a GPU sums are added in no fixed order, so that losses and weights of equal "
    "commands differ from the last bits on; --deterministic repeats them",
)


def words(device: str, *, deterministic: bool) -> str:
    """What a run on `device` may be expected to repeat, for run.json."""
    return ON if device == "cpu" or (deterministic and device.startswith("cuda")) else OFF


def take_workspace() -> None:
    """Set what cuBLAS needs, before a GPU is used. Raises: UsageError if one is."""
    if os.environ.get(WORKSPACE) in WORKSPACES:
        return
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        raise UsageError(
            f"--deterministic comes too late for a GPU in use; set {WORKSPACE}={WORKSPACES[0]} before Python starts"
        )
    os.environ[WORKSPACE] = WORKSPACES[0]


@contextmanager
def switched(on: bool) -> Iterator[None]:
    """Compute with deterministic kernels alone through the block, if `on`; torch's switches are put back after it.

    What cuBLAS needs stays in the environment: a CUDA that has started keeps what it found there.

    Raises: UsageError for an operator without such a kernel, and if CUDA has started without the workspace.
    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    if not on:
        yield
        return
    take_workspace()
    import torch

    cudnn: Any = torch.backends.cudnn
    filling: Any = torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        (cudnn.benchmark, cudnn.deterministic, filling.fill_uninitialized_memory),
    )
    torch.use_deterministic_algorithms(True)
    # memory that nobody has written is read by nobody: filling it would only cost time
    cudnn.benchmark, cudnn.deterministic, filling.fill_uninitialized_memory = False, True, False
    try:
        yield
    except RuntimeError as error:
        if not (operator := _operator(error)):
            raise
        raise UsageError(
            f"{operator} has no deterministic kernel on this device; drop --deterministic, or use --device cpu or "
            "another --backbone"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.benchmark, cudnn.deterministic, filling.fill_uninitialized_memory = before[2]


def _operator(error: BaseException) -> str:
    """The operator that torch names as one without a deterministic kernel; "" if the error is another."""
    found = re.match(r"(\S+) does not have a deterministic implementation", str(error))
    return found[1] if found else ""
