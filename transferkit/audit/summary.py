"""An audit in figures and words: the contents of audit.json, and the lines that a terminal shows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.audit.findings import Findings, counts
from transferkit.audit.shortcuts import Shortcut
from transferkit.audit.suspects import Suspects

VERSION = 1  # of audit.json; raised when a field changes its meaning or goes
MOST = 10_000  # entries of a list in it; how many there are says `counts`
NAMED = 3  # pairs of classes


def as_json(found: Findings) -> dict[str, Any]:
    """The contents of audit.json. Paths count from the data, as they do in fixes.csv."""
    listing = found.listing
    names = [*dict.fromkeys(listing.parts.tolist())]
    return {
        "version": VERSION,
        "data": listing.data,
        "task": listing.task.name,
        "backbone": found.backbone,
        "images": len(listing.labels),
        "parts": {name or "all": int((listing.parts == name).sum()) for name in names},
        "classes": dict(zip(listing.classes, listing.task.counts(listing.labels, len(listing.classes)).tolist())),
        "sizes": sizes(found),
        "counts": counts(found),
        "unreadable": [{"path": path, "reason": reason} for path, reason in found.taken.quarantine[:MOST]],
        "copies": [_images(found, rows.tolist()) for rows in found.copies()[:MOST]],
        "near_copies": [_images(found, [pair.row, pair.twin]) | {"kind": pair.kind} for pair in found.pairs[:MOST]],
        "suspected_labels": _suspects(found, found.suspects) if found.suspects else None,
        "nearly_one_colour": [listing.relative(row) for row in found.empty()[:MOST]],
        "shortcuts": [_shortcut(each) for each in found.shortcuts] if listing.task.names_one else None,
        "notes": list(found.notes),
    }


def sizes(found: Findings) -> dict[str, list[float]]:
    """The least, the middle and the largest width and height in pixels, aspect ratio, and bytes of a file."""
    width, height = found.cues.column("width"), found.cues.column("height")
    columns = {"width": width, "height": height, "aspect": width / height, "bytes": np.array(found.taken.bytes, float)}
    return {
        name: [round(float(value), 3) for value in np.nanquantile(column, (0, 0.5, 1))]
        for name, column in columns.items()
        if np.isfinite(column).any()
    }


def lines(found: Findings) -> list[tuple[str, str]]:
    """What was found, each with its name, in the order in which it matters; nothing of what is not there."""
    count = counts(found)
    copies, near = "copies", "near copies"
    said = [
        ("cannot be read", _many(count["unreadable"])),
        (copies, _copies(count, "copies")),
        (near, _copies(count, "near_copies")),
        ("bursts", f"{count['bursts']:,} pair{'s' * (count['bursts'] != 1)} of one moment" if count["bursts"] else ""),
        ("labels suspected", _suspected(found)),
        ("nearly one colour", _many(count["nearly_one_colour"])),
        *(("shortcut", shortcut_words(each)) for each in found.shortcuts if each.is_strong),
        ("classes", _balance(found)),
        *(("note", note) for note in found.notes),
    ]
    return [(name, words) for name, words in said if words]


def shortcut_words(each: Shortcut) -> str:
    """What a cue alone tells."""
    low, high = (100 * end for end in each.interval)
    figures = f"{100 * each.accuracy:.0f} % (95 % interval {low:.0f} to {high:.0f}, guessing {100 * each.chance:.0f})"
    if not each.pairs:
        return f"the {each.cue} alone tells the class: {figures}"
    named = ", ".join(f"{a} from {b}" for a, b in each.pairs[:NAMED])
    more = f" and {len(each.pairs) - NAMED:,} other pairs" if len(each.pairs) > NAMED else ""
    return f"the {each.cue} alone tells {named}{more}"


def _many(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}" if count else ""


def _copies(count: dict[str, Any], name: str) -> str:
    if not count[name]:
        return ""
    one, many = ("image that is", "images that are") if name == "copies" else ("pair", "pairs")
    what = (one if count[name] == 1 else many) + " there already" * (name == "copies")
    parts, labels = count[f"{name}_across_parts"], count[f"{name}_across_labels"]
    across = [f"{parts:,} across parts"] * bool(parts) + [f"{labels:,} under different labels"] * bool(labels)
    return f"{count[name]:,} {what}" + (f"; {', '.join(across)}" if across else "")


def _suspected(found: Findings) -> str:
    if not found.suspects or not len(found.suspects.suspected):
        return ""
    places = found.suspects.suspected
    first = found.listing.relative(int(found.suspects.rows[places[0]]))
    return f"{len(places):,} of {len(found.suspects.rows):,}; first {first}: {found.suggested(int(places[0]))}?"


def _balance(found: Findings) -> str:
    """The rarest and the commonest class, where they are unlike."""
    each = found.listing.task.counts(found.listing.labels, len(found.listing.classes))
    low, high = int(each.argmin()), int(each.argmax())
    if each[high] < 2 * each[low] or not len(each):
        return ""
    names: Sequence[str] = found.listing.classes
    return f"{each[high]:,} images of {names[high]}, {each[low]:,} of {names[low]}"


def _images(found: Findings, rows: Sequence[int]) -> dict[str, Any]:
    """Some images: paths, labels and parts side by side."""
    listing = found.listing
    return {
        "paths": [listing.relative(row) for row in rows],
        "labels": [found.label(row) for row in rows],
        "parts": [str(listing.parts[row]) for row in rows],
    }


def _suspects(found: Findings, suspects: Suspects) -> list[dict[str, Any]]:
    """The labels suspected, the most suspicious first."""
    return [
        {
            "path": found.listing.relative(int(suspects.rows[place])),
            "label": found.label(int(suspects.rows[place])),
            "suggestion": found.suggested(place),
            "suspicion": round(float(suspects.suspicion[place]), 4),
            "own": round(float(suspects.own[place]), 4),
            "other": round(float(suspects.other[place]), 4),
        }
        for place in suspects.suspected[:MOST].tolist()
    ]


def _shortcut(each: Shortcut) -> dict[str, Any]:
    return {
        "cue": each.cue,
        "accuracy": round(each.accuracy, 4),
        "interval": [round(end, 4) for end in each.interval],
        "chance": round(each.chance, 4),
        "strong": each.is_strong,
        "pairs": [list(pair) for pair in each.pairs[:MOST]],
    }
