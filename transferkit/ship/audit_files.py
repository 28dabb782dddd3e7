"""The folder of an audit: audit.json, audit.html and fixes.csv, written together or not at all."""

import json
from pathlib import Path
from typing import Any

from transferkit.audit import fixes, summary
from transferkit.audit.findings import Findings
from transferkit.ship import audit_page, runs
from transferkit.zoo import files
from transferkit.zoo.errors import RunConflictError

DATA, PAGE, FIXES = "audit.json", "audit.html", "fixes.csv"


def place(out: str | Path | None, data: str) -> Path:
    """The folder that an audit of `data` is to be written to, by default `audits/NAME-N`.

    Raises: RunConflictError if something lies there; StorageError if it may not be written.
    """
    folder = Path(out).expanduser() if out else runs.default_path(data, within="audits")
    if folder.exists() and not folder.is_dir():
        raise RunConflictError(f"{folder} is a file; name a folder for the audit with -o")
    with files.storage_errors(folder):
        if folder.is_dir() and any(folder.iterdir()):
            raise RunConflictError(f"{folder} is not empty; name another folder with -o")
    runs.check_writable(folder)
    return folder


def write(folder: Path, found: Findings, *, seconds: float) -> dict[str, Any]:
    """Write the folder; the contents of audit.json. Raises: StorageError."""
    contents = summary.as_json(found) | {"seconds": round(seconds, 2)}
    with files.new_folder(folder) as scratch, files.storage_errors(folder):
        count = fixes.write(scratch / FIXES, found)
        text = json.dumps(contents, indent=1, allow_nan=False)  # ASCII: a file's name need not be UTF-8
        files.write_text(scratch / DATA, text + "\n")
        files.write_text(scratch / PAGE, audit_page.page(found, fixes=count))
    return contents
