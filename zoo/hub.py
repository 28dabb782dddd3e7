"""Model folders of ours on the Hugging Face hub: fetched as a folder of the hub's cache, and sent there."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from transferkit.zoo import hashes
from transferkit.zoo.downloads import check_reachable, from_hub
from transferkit.zoo.errors import ModelFileError, NetworkError, UsageError
from transferkit.zoo.hashes import CONFIG, MANIFEST
from transferkit.zoo.tries import tried

PREFIX = "hf-hub:"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
TENSORS = re.compile(r"[\w.-]+\.safetensors", re.ASCII)

T = TypeVar("T")


def folder_of(name: str) -> Path | None:
    """The folder of `hf-hub:ORG/NAME`, or `...@REVISION`, if transferkit wrote it; what is cached is not asked for.

    None for another name, or for a repository of somebody else.

    Raises: UsageError if there is no such repository; ModelFileError if a file of it is missing; NetworkError.
    """
    if not name.startswith(PREFIX):
        return None
    repository = name.removeprefix(PREFIX)
    for _ in range(2):  # where the cache had part of an older version, the second round finds all of the new one
        config = from_hub(repository, CONFIG)
        if hashes.OWN not in hashes.read_object(config):
            return None
        manifest = from_hub(repository, MANIFEST)
        files = hashes.read_object(manifest).get("files")
        tensors = [file for file in files if TENSORS.fullmatch(file)] if isinstance(files, dict) else []
        found = {config.parent, manifest.parent, *(from_hub(repository, file).parent for file in tensors)}
        if len(found) == 1:
            return found.pop()
    raise ModelFileError(
        f"the files of {name} are of several versions; try again, or name one of them: {name}@REVISION"
    )


def check_name(repository: str) -> None:
    """Raise UsageError unless it is a name that a repository on the hub may have."""
    if not REPOSITORY.fullmatch(repository) or "--" in repository or ".." in repository or repository.endswith(".git"):
        raise UsageError(f"{repository!r} is no name of a repository; write ORG/NAME, of letters, digits and . - _")


def check_token() -> None:
    """Raise UsageError if the hub's client knows no token, NetworkError if it may not use a network."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise NetworkError("nothing is uploaded while HF_HUB_OFFLINE is set")
    if not get_token():
        raise UsageError("no token of the hub is here: run `hf auth login`, or set HF_TOKEN to one that may write")


def send(folder: Path, repository: str, *, private: bool) -> str:
    """Put the files of a folder into a repository, as one commit, and return its address; what else is there stays.

    A repository that is not there is made. Nothing is sent if it is to be private and the one that is there is not.

    Raises: UsageError for a name or a token that the hub refuses; NetworkError.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    check_name(repository)
    check_token()
    check_reachable(constants.ENDPOINT)
    api = HfApi(endpoint=constants.ENDPOINT)
    _asked(lambda: api.create_repo(repository, private=private or None, exist_ok=True), repository)
    if private and not _asked(lambda: api.repo_info(repository), repository).private:
        raise UsageError(f"{repository} is there already and public; make it private on its page, or name another")
    files = sorted(path for path in folder.rglob("*") if path.is_file())

    def commit() -> object:
        added = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
        return api.create_commit(repository, added, commit_message="Upload a classifier")

    with _bars_for_people():
        _asked(commit, repository)
    return f"{constants.ENDPOINT}/{repository}"


def _asked(work: Callable[[], T], repository: str) -> T:
    """What the hub answers. Raises: UsageError if it refuses this token or this name, NetworkError."""
    from huggingface_hub.errors import HfHubHTTPError

    def ask(told: Callable[[], None]) -> T:
        try:
            return _unwrapped(work)
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403, 404):
                may = "the token is not valid" if status == 401 else f"the token may not write to {repository}"
                raise UsageError(f"the hub refuses ({status}): {may}; `hf auth whoami` tells whose it is") from error
            if status in (400, 409, 413, 422):
                words = " ".join((error.server_message or str(error)).split())
                raise UsageError(f"the hub refuses ({status}): {words}") from error
            raise

    return tried(ask, is_told=False)


def _unwrapped(work: Callable[[], T]) -> T:
    """What `work` gives or raises; of a file that could not be uploaded the reason, which the client hides."""
    try:
        return work()
    except RuntimeError as error:
        if isinstance(error.__cause__, Exception):
            raise error.__cause__ from None
        raise


@contextmanager
def _bars_for_people() -> Iterator[None]:
    """The client's bars are left out of logs and pipes."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    is_left = are_progress_bars_disabled() or sys.stderr.isatty()
    if not is_left:
        disable_progress_bars()
    try:
        yield
    finally:
        if not is_left:
            enable_progress_bars()
