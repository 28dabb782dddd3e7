"""What our writers leave when they are killed, and how a folder goes."""

import os
import re
import shutil
from pathlib import Path


def sweep(folder: Path, names: str) -> None:
    """Remove what `new_folder` and the writers of files left in `folder` when they were killed; nobody may write there.

    Args: names, a regular expression of the files and folders they were to make.
    """
    made, folders = (re.compile(rf"\.({names})\.{end}") for end in (r"\d+\.tmp", "[a-z0-9_]{8}"))
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        is_folder = path.is_dir() and not path.is_symlink()
        if made.fullmatch(path.name) or (is_folder and folders.fullmatch(path.name)):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_at_once(folder: Path) -> None:
    """Remove a folder whose parts alone would mean something else; where this is killed, `sweep` does the rest."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)
