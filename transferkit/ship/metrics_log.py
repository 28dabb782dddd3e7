"""metrics.jsonl: a line for each epoch, and no stop of the training where there is no room for one."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from transferkit.zoo import files
from transferkit.zoo.errors import StorageError


class MetricsLog:
    """The file of metrics lines; those that could not be written are written with the next one that can."""

    def __init__(self, path: Path):
        self._path = path
        self._lines: list[str] = []
        self._is_torn = False  # whether the file may lack lines, or hold a part of one

    def start(self) -> None:
        """Begin anew. Raises: StorageError."""
        self._lines, self._is_torn = [], False
        files.write_text(self._path, "")

    def add(self, record: dict[str, Any]) -> None:
        """Add a line."""
        self._lines.append(json.dumps(record, allow_nan=False) + "\n")
        with suppress(StorageError):
            if self._is_torn:
                self.finish()
                return
            self._is_torn = True
            with files.storage_errors(self._path), open(self._path, "a") as file:
                file.write(self._lines[-1])
            self._is_torn = False

    def finish(self) -> None:
        """Write what could not be written before. Raises: StorageError."""
        if self._is_torn:
            files.write_text(self._path, "".join(self._lines))
            self._is_torn = False
