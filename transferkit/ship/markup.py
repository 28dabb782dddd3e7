"""The report's pieces of HTML.

Every name in it (files, classes, reasons) comes from a stranger's disk, so each goes through `shown`.
"""

import html
from collections.abc import Iterable
from typing import Any

from transferkit.zoo.text import printable


def shown(text: Any) -> str:
    """`text` as HTML that displays it and does nothing else.

    >>> shown("<b>\\x1b'")
    '&lt;b&gt;\\\\x1b&#x27;'
    """
    return html.escape(printable(text))


def section(title: str, body: str, *, lead: str = "") -> str:
    """A part of the page under a heading; `lead` is a line of text above the body."""
    return f"<section><h2>{title}</h2>" + (f'<p class="lead">{lead}</p>' if lead else "") + f"{body}</section>"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, text: int) -> str:
    """A table of cells that are HTML already; the first `text` columns hold text, the rest numbers."""
    kinds = ["text" if column < text else "" for column in range(len(head))]
    top = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in zip(head, kinds))
    body = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for cell, kind in zip(row, kinds)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table class="list"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def percent(share: float | None) -> str:
    """A share in per cent, with a thin space that does not break; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f}\u202f%"


def bar(share: float | None) -> str:
    """A share in per cent with a bar of that length."""
    drawn = "" if share is None else f'<span class="bar"><i style="width:{share:.1%}"></i></span>'
    return drawn + percent(share)


def interval_kind(block: dict[str, Any]) -> str:
    """How the interval of a block was computed."""
    return f"by {block['groups']:,} groups of images" if block.get("groups") else "Wilson"


def nearest(baselines: dict[str, Any] | None) -> str:
    """The end of a sentence on what the commonest answer would score: what the most similar image would; or ""."""
    found = (baselines or {}).get("nearest")
    return f", that of the most similar image {percent(found['accuracy'])}" if found else ""


def duration(seconds: float) -> str:
    """A duration in the two units that matter.

    >>> duration(3.14), duration(97), duration(7380)
    ('3.1 s', '1 min 37 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
