"""RESULTS.md: what each script last printed, as tables."""

import json
from pathlib import Path
from typing import Any

HEAD = """# What was measured

Written by `python -m benchmarks`; the lines themselves are in `results.json`. A ratio is one of medians of runs made in
turn, each a whole process from start to exit unless it says otherwise; low and high are the extremes of single rounds.
Peak memory is that of the largest process of a command.
"""
ABOUT = {"benchmark", "figures", "repeats", "quick", "date", "machine", "versions", "data", "note", "skipped", "cores"}


def keep(folder: Path, name: str, found: dict[str, Any]) -> None:
    """Put what a script gave into `folder`/results.json, in the place of what it gave before, and write RESULTS.md.

    Args: found, {"claim", "command", "lines"}.
    """
    file = folder / "results.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    results[name] = found
    file.write_text(json.dumps(results, indent=1) + "\n")
    (folder / "RESULTS.md").write_text(HEAD + "".join(section(name, found) for name, found in results.items()))


def section(name: str, found: dict[str, Any]) -> str:
    """A script's heading, its claim, how to run it, and a table of what it found."""
    text = f"\n## {name}\n\n{found['claim']}\n\n`{found['command']}`\n\n"
    lines = [line for line in found["lines"] if "skipped" not in line]
    skipped = [f"Not run: {line['skipped']}.\n" for line in found["lines"] if "skipped" in line]
    if not lines:
        return text + "".join(skipped)
    tables = [_figures(line["figures"]) for line in lines if "figures" in line]
    plain = [line for line in lines if "figures" not in line]
    return text + "\n".join([*tables, *([_plain(plain)] if plain else []), *skipped, _about(lines[-1])])


def _figures(figures: list[dict[str, Any]]) -> str:
    rows = [("figure", "goal", "measured", "low to high", "met")]
    for figure in figures:
        value = f"{figure['value']:g} {figure['unit']}".strip()
        spread = f"{figure['low']:g} to {figure['high']:g}" if "low" in figure else ""
        met = {True: "yes", False: "no"}.get(figure.get("met"), "")
        rows.append((figure["what"], figure.get("goal", ""), value, spread, met))
    return _table(rows)


def _plain(lines: list[dict[str, Any]]) -> str:
    """The numbers and words of lines that have no figures."""
    keys = [key for key, value in lines[0].items() if key not in ABOUT and not isinstance(value, dict)]
    return _table([tuple(keys), *(tuple(_cell(line.get(key, "")) for key in keys) for line in lines)])


def _cell(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = (f"| {' | '.join(row)} |\n" for row in rows)
    return head + "|---" * len(rows[0]) + "|\n" + "".join(body)


def _about(line: dict[str, Any]) -> str:
    """Data, note, machine, versions, date."""
    machine = line.get("machine") if isinstance(line.get("machine"), dict) else {}
    versions = machine.get("versions") or line.get("versions") or {}
    said = [f"{line[key][0].upper()}{line[key][1:]}." for key in ("data", "note") if line.get(key)]
    if machine:
        where = [machine.get("processor"), f"{machine.get('cores')} cores", f"{machine.get('memory_gb')} GB"]
        said.append(", ".join(filter(None, [*where, machine.get("system")])) + ".")
    if versions:
        said.append(", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    if "date" in line:
        said.append(f"{line['date']}, {line['repeats']} rounds{', --quick: no measurement' * line['quick']}.")
    return " ".join(said) + "\n"
