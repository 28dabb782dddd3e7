"""Data sets as hubs store them, photos inside of Parquet or Arrow files: written into the cache beside a table of them.

Sources: https://huggingface.co/docs/datasets/about_arrow, and `Dataset.save_to_disk` there for the folders.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from transferkit.data import archive, entries, hub_rows
from transferkit.data.parts import part_of
from transferkit.progress import Progress
from transferkit.zoo.errors import DataError, TransferkitError, UsageError
from transferkit.zoo.text import printable

SAVED, DIVIDED = ("dataset_info.json", "state.json"), "dataset_dict.json"  # of a folder, and of one with parts
TABLE, NOTES = "table.jsonl", "notes.json"


def is_hub_data(data: str) -> bool:
    """Whether DATA is a Parquet file, a folder of these, or a folder as datasets saves it."""
    if data.lower().endswith(".parquet"):
        return os.path.isfile(data)
    has = [os.path.isfile(os.path.join(data, name)) for name in (*SAVED, DIVIDED)]
    return all(has[:2]) or has[2] or bool(_parquet_files(Path(data)))


def unpacked(source: Path, *, cache: Path, progress: Progress) -> tuple[Path, tuple[str, ...]]:
    """The table in the cache, beside the photos that it lists; and what to say of them.

    Raises: UsageError if pyarrow is not installed, DataError if there are no photos in it, or it is damaged;
    StorageError.
    """
    files = _files(source)
    key = [(str(path.resolve()), part, path.stat().st_size, path.stat().st_mtime_ns) for path, part in files]
    most = archive.believable(sum(path.stat().st_size for path, _ in files))

    def write(folder: Path) -> int:
        progress.start(f"unpacking {source.name}", len(files))
        with _errors(source):
            count = _Writer(source, folder, most=most).write(files, progress)
        progress.finish()
        return count

    folder = archive.kept({"hub data": key}, write, cache=cache)
    return folder / TABLE, tuple(json.loads((folder / NOTES).read_text(encoding="utf-8")))


def _files(source: Path) -> list[tuple[Path, str]]:
    """The files of a data set, each with its part."""
    if source.is_file():
        return [(source, "")]
    if (source / DIVIDED).is_file():
        names = _json(source / DIVIDED).get("splits") or []
        return [(path, part_of(str(name)) or "") for name in names for path in _saved(source / _plain(name, source))]
    if (source / SAVED[0]).is_file():
        return [(path, "") for path in _saved(source)]
    return [(path, part_of(path.stem.split("-")[0]) or "") for path in _parquet_files(source)]


def _parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder that holds no other data, or of its only one, data/, as repositories have it."""
    if not folder.is_dir() or entries.images(folder):
        return []
    folders, inner = entries.folder_names(folder, ""), folder / "data"
    if folders == ["data"]:
        return _parquet_files(inner) if not entries.folder_names(inner, "") else []
    names = [] if folders else sorted(name for name in os.listdir(folder) if not entries.is_hidden(name))
    return [folder / name for name in names if name.lower().endswith(".parquet")]


def _saved(folder: Path) -> list[Path]:
    state = _json(folder / SAVED[1])
    if state.get("_indices_data_files"):
        raise DataError(f"{folder} is a selection of other rows; call flatten_indices() before save_to_disk()")
    return [folder / _plain(each.get("filename"), folder) for each in state.get("_data_files") or []]


def _plain(name: Any, folder: Path) -> str:
    if not isinstance(name, str) or not name or name != os.path.basename(name) or name in (".", ".."):
        raise DataError(f"{folder} names {printable(repr(name))[:80]}, which is not in it")
    return name


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path.parent} lacks {path.name}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged: no JSON object")
    return found


@contextmanager
def _errors(source: Path) -> Iterator[None]:
    """Raises: UsageError where pyarrow is missing, DataError for what it raises of a damaged file."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise UsageError(f"to read {source}: pip install 'transferkit[datasets]'") from error
    try:
        yield
    except TransferkitError:
        raise
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{source} is damaged: {' '.join(str(error).split())[:200]}") from error
    except OSError as error:
        if error.errno is not None:  # of the disk; Arrow has none
            raise
        raise DataError(f"{source} is damaged: {' '.join(str(error).split())[:200]}") from error


class _Writer:
    """Writes the photos of files, and the table."""

    def __init__(self, source: Path, folder: Path, *, most: int):
        self._source, self._folder, self._most = source, folder, most
        self._taken: set[str] = {TABLE, NOTES}
        self._bytes = self._rows = self._empty = self._unlabelled = 0

    def write(self, files: list[tuple[Path, str]], progress: Progress) -> int:
        """How many files are in the folder then. Raises: DataError."""
        with open(self._folder / TABLE, "x", encoding="utf-8") as table:
            for path, part in files:
                for batch, schema in hub_rows.batches(path):
                    for row in self._rows_of(batch, schema, path):
                        table.write(json.dumps(row | ({"split": part} if part else {})) + "\n")
                progress.advance(1)
        if self._rows == self._empty:
            raise DataError(
                f"{self._source} holds no photos: in all of its {self._rows:,} rows their bytes are missing"
            )
        counts = {"hold no photo": self._empty, "have no label": self._unlabelled}
        notes = [f"{count:,} of {self._rows:,} rows {what} and are left out" for what, count in counts.items() if count]
        (self._folder / NOTES).write_text(json.dumps(notes), encoding="utf-8")
        return len(self._taken)

    def _rows_of(self, batch: Any, schema: Any, path: Path) -> Iterator[dict[str, Any]]:
        image, kept = hub_rows.columns(schema, path)
        names = hub_rows.class_names(schema)
        for row in batch.select([image, *kept]).to_pylist():
            self._rows += 1
            value = row.pop(image)
            content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
            if not content:
                self._empty += 1
                continue
            row = {key: hub_rows.named(each, names.get(key), path) for key, each in row.items()}
            if any(key in names and each is None for key, each in row.items()):
                self._unlabelled += 1
                continue
            yield {"path": self._put(content, name)} | hub_rows.labelled(row, names)

    def _put(self, content: bytes, name: str | None) -> str:
        self._bytes += len(content)
        if self._bytes > self._most:
            raise DataError(f"{self._source} would be over {self._most >> 20:,} MB unpacked: are these photos?")
        own = _safe(name)
        if own.casefold() in self._taken:
            own = f"{self._rows:09d}/{PurePosixPath(own).name}"
        self._taken.add(own.casefold())
        (self._folder / own).parent.mkdir(parents=True, exist_ok=True)
        with open(self._folder / own, "xb") as file:
            file.write(content)
        return own


def _safe(name: str | None) -> str:
    """The name of a photo below the folder; "photo" where it has none, or one that leads elsewhere."""
    parts = PurePosixPath((name or "").replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or not entries.is_image(parts[-1]):
        return "photo"
    is_odd = any(":" in part or len(os.fsencode(part)) > 200 or not part.isprintable() for part in parts)
    return "photo" if is_odd or len(parts) > 20 else "/".join(parts)
