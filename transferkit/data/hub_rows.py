"""Rows of Parquet and Arrow files: which column is the photo, and what the classes are called."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transferkit.data.columns import LABELS, ONE_LABEL, word
from transferkit.zoo.errors import DataError
from transferkit.zoo.text import printable

BATCH = 64  # rows in memory at a time
NO_LABEL = -1  # of a class, where a hub keeps it back


def batches(path: Path) -> Iterator[tuple[Any, Any]]:
    """Some rows at a time, with the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as file:
            yield from ((batch, file.schema_arrow) for batch in file.iter_batches(BATCH))
        return
    with pa.memory_map(str(path)) as memory, pa.ipc.open_stream(memory) as stream:
        for batch in stream:
            yield from ((batch.slice(at, BATCH), stream.schema) for at in range(0, batch.num_rows, BATCH))


def columns(schema: Any, path: Path) -> tuple[str, list[str]]:
    """The column of the photos, and those that may say something of them. Raises: DataError."""
    import pyarrow as pa

    def is_binary(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    def is_photo(kind: Any) -> bool:
        return is_binary(kind) or (
            pa.types.is_struct(kind) and any(each.name == "bytes" and is_binary(each.type) for each in kind)
        )

    photos = [each.name for each in schema if is_photo(each.type)]
    if len(photos) > 1 and "image" not in photos:
        raise DataError(f"{path} has several columns of photos: {', '.join(map(printable, photos))}; call one image")
    if not photos:
        shown = ", ".join(printable(name) for name in schema.names[:20])
        raise DataError(f"{path} has no column with the bytes of photos; its columns: {shown}")
    kept = [each.name for each in schema if each.name not in (*photos, "path") and not pa.types.is_nested(each.type)]
    lists = [each.name for each in schema if pa.types.is_list(each.type) or pa.types.is_large_list(each.type)]
    return "image" if "image" in photos else photos[0], [*kept, *lists]


def class_names(schema: Any) -> dict[str, list[str]]:
    """The names of the classes by column, where a hub has written them into the schema."""
    text = (schema.metadata or {}).get(b"huggingface")
    found = json.loads(text) if text else {}
    features = found.get("info", {}).get("features", {}) if isinstance(found, dict) else {}
    names = {}
    for column, feature in features.items() if isinstance(features, Mapping) else ():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and isinstance(inner.get("names"), list) and inner.get("_type") == "ClassLabel":
            names[column] = [str(name) for name in inner["names"]]
    return names


def named(value: Any, names: list[str] | None, path: Path) -> Any:
    """A value with numbers of classes replaced by their names; None for a class that is kept back."""
    if isinstance(value, list):
        return [named(each, names, path) for each in value]
    if names is None or value is None or value == NO_LABEL:
        return value if names is None and isinstance(value, (str, int, float, bool)) else None
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise DataError(f"{path} has the class {printable(repr(value))[:40]}, of {len(names)} that it names")
    return names[value]


def labelled(row: dict[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """The row with its class as `label`, where it is the only column of classes and is called otherwise."""
    single = [column for column in names if column in row and not isinstance(row[column], list)]
    if len(single) != 1 or any(word(name) in ONE_LABEL for name in row):
        return row
    label = row[single[0]]
    return {name: each for name, each in row.items() if word(name) != LABELS} | {"label": label}
