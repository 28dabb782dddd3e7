"""The numbers of docs/lecture.md, set from docs/lecture/results.json.

A number stands between marks that name it and say how it is printed: <!--dropout.none.gap:.1%-->31.0 %<!--/-->.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from transferkit.zoo import files

MARK = re.compile(r"<!--([\w.-]+)(?::([^>]*?))?-->.*?<!--/-->", re.DOTALL)
MISSING = "not measured"
SHOWN = ("torch", "torchvision", "albumentations")  # of the libraries, on the page


def read(folder: Path) -> dict[str, Any]:
    """The results kept in `folder`, or none: of each part, and of each run the machine."""
    path = folder / "results.json"
    return files.read_json(path) if path.is_file() else {"runs": {}, "parts": {}}


def keep(folder: Path, results: dict[str, Any]) -> None:
    """Write the results to `folder`, without the runs of which no part is left."""
    used = {part["origin"] for part in results["parts"].values()}
    runs = {started: machine for started, machine in results["runs"].items() if started in used}
    files.write_json(folder / "results.json", results | {"runs": runs})


def write(folder: Path) -> None:
    """Set the numbers of the page beside `folder`, if there is one, from the results in it."""
    page = folder.with_suffix(".md")
    if page.is_file():
        files.write_text(page, fill(page.read_text(encoding="utf-8"), read(folder)))


def fill(text: str, results: dict[str, Any]) -> str:
    """`text` with every marked number as `results` have it.

    >>> results = {"runs": {}, "parts": {"l2": {"none": {"mean": 0.4321}}}}
    >>> fill("<!--l2.none.mean:.1%--><!--/--> and <!--l2.more--><!--/-->", results)
    '<!--l2.none.mean:.1%-->43.2 %<!--/--> and <!--l2.more-->not measured<!--/-->'
    """
    values = results["parts"] | {"total": total(results), "runs": origin(results)}

    def replaced(mark: re.Match) -> str:
        key, spec = mark[1], mark[2]
        shown = printed(_found(values, key), spec or "")
        return f"<!--{key}:{spec}-->{shown}<!--/-->" if spec else f"<!--{key}-->{shown}<!--/-->"

    return MARK.sub(replaced, text)


def total(results: dict[str, Any]) -> dict[str, float]:
    """The minutes that all parts took together, by the clock and by the processor."""
    times = [part["time"] for part in results["parts"].values() if "time" in part]
    return {kind[:-7] + "minutes": sum(time[kind] for time in times) / 60 for kind in ("seconds", "cpu_seconds")}


def origin(results: dict[str, Any]) -> str:
    """How many runs the results are from, and how many parts on which day and machine.

    >>> machine = {"processor": "Abacus", "cores": 2, "threads": 1, "device": "cpu", "versions": {"torch": "2.9"}}
    >>> origin({"runs": {"2026-01-31T12:00:00Z": machine}, "parts": {"l2": {"origin": "2026-01-31T12:00:00Z"}}})
    'one run: 1 part on 2026-01-31 (Abacus, cores: 2, threads: 1, device: cpu, torch 2.9)'
    """
    settings = {}
    for started, machine in sorted(results["runs"].items()):
        numbers = [f"{name}: {machine[name]}" for name in ("cores", "threads", "device")]
        versions = [f"{name} {machine['versions'][name]}" for name in SHOWN if name in machine["versions"]]
        settings[started] = f"on {started[:10]} ({', '.join([machine['processor'], *numbers, *versions])})"
    used = Counter(settings[part["origin"]] for part in results["parts"].values() if "origin" in part)
    parts = [f"{used[setting]} part{'s' * (used[setting] != 1)} {setting}" for setting in sorted(used)]
    return f"{'one run' if len(settings) == 1 else f'{len(settings)} runs'}: {'; '.join(parts)}"


def printed(value: Any, spec: str) -> str:
    """A number in the form that `spec` names, that of Python's format, or "points", of a hundred; "+" shows the sign.

    >>> printed(0.1234, ".1%"), printed(0.0123, "points"), printed(0.0123, "+points"), printed(3, "")
    ('12.3 %', '1.2', '+1.2', '3')
    """
    if value is None:
        return MISSING
    if spec in ("points", "+points"):
        return format(100 * value, spec.replace("points", ".1f"))
    return format(value, spec).replace("%", " %")


def _found(values: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values
