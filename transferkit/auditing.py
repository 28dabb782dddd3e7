"""The audit of a data set from Python: what is wrong with it, written to a folder; and the data set without that."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit import runtime
from transferkit.audit.fixes import Cleaned
from transferkit.prepare import found, prepare
from transferkit.progress import Progress
from transferkit.zoo import stops


@dataclass(frozen=True, kw_only=True)
class Audit:
    """A finished audit: its folder, the contents of its audit.json, and what to say of it, each line with its name."""

    folder: Path
    contents: dict[str, Any]
    lines: list[tuple[str, str]]


def audit(
    data: str | Path,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Audit:
    """Find what is wrong with the images of `data`: copies, wrong labels, shortcuts, empty and unreadable files.

    Features are kept, so that a run with the same backbone computes none of them again. Photos are never changed.

    Args: data, and options that say how images are read, as for `finetune`; out, the folder to write audit.json,
    audit.html and fixes.csv to, by default `audits/NAME-N`.
    Raises: the errors of transferkit.zoo.errors; RunConflictError if something lies in `out`.
    """
    started = time.monotonic()
    runtime.prepare_process()
    progress = progress or Progress()
    with runtime.device_errors(), stops.working():
        from transferkit.ship import audit_files

        folder = audit_files.place(out, str(data))
        prepared = prepare(data, progress=progress, strategy="probe", **options)
        from transferkit import inspection  # after the data is found: torch takes seconds to import
        from transferkit.audit import summary

        seen = inspection.inspect(prepared, progress)
        contents = audit_files.write(folder, seen, seconds=time.monotonic() - started)
    return Audit(folder=folder, contents=contents, lines=summary.lines(seen))


def clean(
    data: str | Path, fixes: str | Path, out: str | Path, *, progress: Progress | None = None, **options: Any
) -> Cleaned:
    """Write a data set without what `fixes`, an edited fixes.csv, removes, and with the labels that it gives.

    Args: out, a CSV that `finetune` takes; photos stay as and where they are.
    Raises: DataError for a line of `fixes` that cannot be done, RunConflictError if `out` is there already.
    """
    from transferkit.audit import fixes as decisions

    with stops.working():
        _, listing = found(data, progress=progress or Progress(), **options)
        return decisions.apply(listing, Path(fixes).expanduser(), Path(out).expanduser())
