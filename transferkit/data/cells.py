"""Cells of CSV files that people open: no spreadsheet takes one for a formula, what is read back is what it was.

Source: the characters and the apostrophe are those of https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from transferkit.zoo import files

FORMULA, BEFORE = re.compile(r"'*[=+\-@\t\r]"), frozenset("'=+-@\t\r")


def defused(cells: Iterable[object]) -> list[str]:
    """The cells as text, with an apostrophe before what a spreadsheet would compute.

    >>> defused(["=1+1", "'=1", "cat", -1])
    ["'=1+1", "''=1", 'cat', "'-1"]
    """
    return [f"'{cell}" if cell[:1] in BEFORE and FORMULA.match(cell) else cell for cell in map(str, cells)]


def write(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Replace a CSV file, whole or not at all. Raises: StorageError."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # RFC 4180: quotes doubled, lines end in CRLF
    writer.writerow(defused(columns))
    writer.writerows(map(defused, rows))
    files.write_text(path, text.getvalue())


def original(cell: str) -> str:
    """The cell before `defused`.

    >>> original("'=1+1"), original("''=1"), original("'t Zand"), original("-1")
    ('=1+1', "'=1", "'t Zand", '-1')
    """
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
