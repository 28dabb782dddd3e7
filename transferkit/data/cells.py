"""Cells of CSV files that people open: no spreadsheet takes one for a formula, what is read back is what it was.

Source: the characters and the apostrophe are those of https://owasp.org/www-community/attacks/CSV_Injection
"""

import re
from collections.abc import Iterable

FORMULA = re.compile(r"'*[=+\-@\t\r]")


def defused(cells: Iterable[object]) -> list[str]:
    """The cells as text, with an apostrophe before what a spreadsheet would compute.

    >>> defused(["=1+1", "'=1", "cat", -1])
    ["'=1+1", "''=1", 'cat', "'-1"]
    """
    return [f"'{cell}" if FORMULA.match(cell) else cell for cell in map(str, cells)]


def original(cell: str) -> str:
    """The cell before `defused`.

    >>> original("'=1+1"), original("''=1"), original("'t Zand"), original("-1")
    ('=1+1', "'=1", "'t Zand", '-1')
    """
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
