"""The numbers of docs/lecture.md, set from docs/lecture/results.json.

A number stands between marks that name it and say how it is printed: <!--dropout.none.gap:.1%-->31.0 %<!--/-->.
"""

import re
from pathlib import Path
from typing import Any

from transferkit.zoo import files

MARK = re.compile(r"<!--([\w.-]+)(?::([^>]*?))?-->.*?<!--/-->", re.DOTALL)
MISSING = "not measured"


def read(folder: Path) -> dict[str, Any]:
    """The results kept in `folder`, or none."""
    path = folder / "results.json"
    return files.read_json(path) if path.is_file() else {"machine": {}, "parts": {}}


def write(folder: Path) -> None:
    """Set the numbers of the page beside `folder`, if there is one, from the results in it."""
    page = folder.with_suffix(".md")
    if page.is_file():
        files.write_text(page, fill(page.read_text(encoding="utf-8"), read(folder)))


def fill(text: str, results: dict[str, Any]) -> str:
    """`text` with every marked number as `results` have it.

    >>> results = {"machine": {}, "parts": {"l2": {"none": {"mean": 0.4321}}}}
    >>> fill("<!--l2.none.mean:.1%--><!--/--> and <!--l2.more--><!--/-->", results)
    '<!--l2.none.mean:.1%-->43.2 %<!--/--> and <!--l2.more-->not measured<!--/-->'
    """
    values = results["parts"] | {"machine": results["machine"], "total": total(results)}

    def replaced(mark: re.Match) -> str:
        key, spec = mark[1], mark[2]
        shown = printed(_found(values, key), spec or "")
        return f"<!--{key}:{spec}-->{shown}<!--/-->" if spec else f"<!--{key}-->{shown}<!--/-->"

    return MARK.sub(replaced, text)


def total(results: dict[str, Any]) -> dict[str, float]:
    """What all parts took together, in minutes, and what of it the processor worked for us."""
    times = [part["time"] for part in results["parts"].values() if "time" in part]
    return {kind[:-7] + "minutes": sum(time[kind] for time in times) / 60 for kind in ("seconds", "cpu_seconds")}


def printed(value: Any, spec: str) -> str:
    """A number in the form that `spec` names, that of Python's format, or "points": of a hundred, with its sign.

    >>> printed(0.1234, ".1%"), printed(0.0123, "points"), printed(3, "")
    ('12.3 %', '+1.2', '3')
    """
    if value is None:
        return MISSING
    if spec == "points":
        return f"{100 * value:+.1f}"
    return format(value, spec).replace("%", " %")


def _found(values: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values
