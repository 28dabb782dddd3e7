"""The page of an audit: what is wrong with a data set, with the photos that are meant beside each other."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from string import Template

from transferkit.audit import summary
from transferkit.audit.findings import Findings, counts
from transferkit.audit.shortcuts import Shortcut
from transferkit.data.copies import Pair
from transferkit.ship.markup import bar, percent, section, shown, table
from transferkit.ship.mistakes import thumbnail

MOST_SUSPECTS, MOST_COPIES, MOST_EMPTY = 48, 24, 12  # pictures keep the page under 3 MB
THUMBNAIL_PX = 160
MOST_LISTED = 100  # rows of files; the rest stands in audit.json
MOST_CLASSES = 30


def page(found: Findings, *, fixes: int) -> str:
    """The HTML of the page. Args: fixes, how many images stand in fixes.csv."""
    name = shown(Path(found.every.data).name)
    sections = [
        _overview(found),
        _next(found, fixes),
        _suspects(found),
        _copies(found),
        _near(found),
        _empty(found),
        _unread(found),
        _shortcuts(found),
        section("Classes", _classes(found)),
        _sizes(found),
    ]
    template = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=f"audit: {name}",
        run=f"transferkit audit of {name}",
        headline=_headline(found, fixes),
        sections="\n".join(filter(None, sections)),
    )


def _headline(found: Findings, fixes: int) -> str:
    n = len(found.every.labels)
    strong = [f'<p class="note">{shown(summary.shortcut_words(each).capitalize())}.</p>' for each in _strong(found)]
    notes = [f'<p class="note">{shown(note)}</p>' for note in found.notes]
    what = "image asks" if fixes == 1 else "images ask"
    return f"<h1><strong>{fixes:,}</strong> of {n:,} {what} for a decision</h1>" + "".join(strong + notes)


def _strong(found: Findings) -> list[Shortcut]:
    return [each for each in found.shortcuts if each.is_strong]


def _overview(found: Findings) -> str:
    """How many there are of what."""
    count, listing = counts(found), found.listing
    suspected = "–" if count["suspected_labels"] is None else f"{count['suspected_labels']:,}"
    facts = [
        ("Images", f"{len(listing.labels):,} <small>{count['unreadable']:,} more cannot be read</small>"),
        ("Classes", f"{len(listing.classes):,}"),
        ("Labels suspected", suspected),
        ("Copies", f"{count['copies']:,} <small>{count['copies_across_labels']:,} under different labels</small>"),
        ("Near copies", f"{count['near_copies']:,} <small>{count['near_copies_across_parts']:,} across parts</small>"),
        ("Bursts", f"{count['bursts']:,} <small>pairs of photos of one moment</small>"),
        ("Nearly one colour", f"{count['nearly_one_colour']:,}"),
    ]
    tiles = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return section("What was found", f'<dl class="facts">{tiles}</dl>')


def _sizes(found: Findings) -> str:
    """How large photos and files are."""
    words = {"width": "width, px", "height": "height, px", "aspect": "width : height", "bytes": "bytes of a file"}
    rows = [
        (words[name], *(f"{value:,.2f}" if name == "aspect" else f"{value:,.0f}" for value in values))
        for name, values in summary.sizes(found).items()
    ]
    return section("Sizes", table(("", "Least", "Middle", "Largest"), rows, text=1)) if rows else ""


def _classes(found: Findings) -> str:
    """Images of each class, the commonest first, in each part that was given."""
    listing = found.listing
    parts = [part for part in ("", "train", "val", "test") if (listing.parts == part).any()]
    by_part = [listing.task.counts(listing.labels[listing.parts == part], len(listing.classes)) for part in parts]
    every = listing.task.counts(listing.labels, len(listing.classes))
    order = sorted(range(len(listing.classes)), key=lambda k: -every[k])
    rows = [
        (shown(listing.classes[k]), bar(every[k] / len(listing.labels)), *(f"{each[k]:,}" for each in by_part))
        for k in order[:MOST_CLASSES]
    ]
    more = len(order) - MOST_CLASSES
    head = ("Class", "Share", *(part or "images" for part in parts))
    return table(head, rows, text=1) + (f'<p class="lead">{more:,} more in audit.json.</p>' if more > 0 else "")


def _shortcuts(found: Findings) -> str:
    """Every cue that differs among the images, and what it alone tells."""
    if not found.shortcuts:
        return ""
    rows = [
        (
            shown(each.cue),
            percent(each.accuracy),
            "{:.0f}\u2013{:.0f}".format(*(100 * end for end in each.interval)),
            "<b>yes</b>" if each.is_strong else "no",
        )
        for each in found.shortcuts
    ]
    lead = (
        "What the label can be told from without looking at the photo, in cross-validation, all classes as likely; "
        f"guessing is right in {percent(found.shortcuts[0].chance)}. A network may learn such a cue in place of what "
        "is shown, and fail where it is absent."
    )
    return section("Shortcuts", table(("From this alone", "Right", "95\u202f%", "Named"), rows, text=1), lead=lead)


def _suspects(found: Findings) -> str:
    if not found.suspects or not len(found.suspects.suspected):
        return ""
    suspects, listing = found.suspects, found.listing
    figures = []
    for place in suspects.suspected[:MOST_SUSPECTS].tolist():
        row = int(suspects.rows[place])
        said, share = shown(found.suggested(place) or "none"), percent(float(suspects.other[place]))
        lines = f'<span class="said">{said}? {share}</span><span>labelled {shown(found.label(row) or "none")}</span>'
        figures.append(_figure(found, [row], lines))
    lead = (
        f"{len(suspects.suspected):,} of {len(suspects.rows):,} labels disagree with a head that has not seen the "
        f"image ({shown(found.backbone)}; confident learning). The first are the likeliest to be wrong; many are right."
    )
    return section("Labels suspected", _grid(figures), lead=lead) if listing.classes else ""


def _copies(found: Findings) -> str:
    groups = found.copies()
    worst = sorted(groups, key=lambda rows: not (found.is_contradiction(*rows) or found.crosses(*rows)))
    figures = [
        _figure(found, rows[:1].tolist(), _places(found, rows.tolist()), has_file=False) for rows in worst[:MOST_COPIES]
    ]
    extra = sum(len(rows) - 1 for rows in groups)
    lead = f"{len(groups):,} files are there more than once, {extra:,} images too many."
    return section("The same file", _grid(figures), lead=lead) if groups else ""


def _near(found: Findings) -> str:
    def is_harmless(pair: Pair) -> bool:
        return not (found.is_contradiction(pair.row, pair.twin) or found.crosses(pair.row, pair.twin))

    pairs = sorted(found.pairs, key=is_harmless)[:MOST_COPIES]
    figures = []
    for pair in pairs:
        rows = [pair.row, pair.twin]
        lines = f"<span>{shown(pair.kind)}</span>" + _places(found, rows)
        figures.append(_figure(found, rows, lines, has_file=False))
    lead = f"{len(found.pairs):,} pairs; those across parts or labels first. A split of ours keeps each pair together."
    return section("Nearly the same", _grid(figures), lead=lead) if pairs else ""


def _empty(found: Findings) -> str:
    rows = found.empty()
    figures = [_figure(found, [row], f"<span>labelled {shown(found.label(row))}</span>") for row in rows[:MOST_EMPTY]]
    lead = f"{len(rows):,} photo{'s' * (len(rows) != 1)} in all."
    return section("Nearly one colour", _grid(figures), lead=lead) if rows else ""


def _unread(found: Findings) -> str:
    entries = found.taken.quarantine
    rows = [(shown(path), shown(reason)) for path, reason in entries[:MOST_LISTED]]
    lead = f"{len(entries):,} in all; no run uses them."
    return section("Images that cannot be read", table(("Path", "Reason"), rows, text=2), lead=lead) if entries else ""


def _next(found: Findings, fixes: int) -> str:
    if not fixes:
        return ""
    lead = (
        "Every image in doubt stands in fixes.csv beside a suggestion; nothing happens until its action is changed "
        "from keep to remove or to label:CLASS. Then this writes a cleaned data set; no photo is changed."
    )
    command = shlex.join(["transferkit", "audit", *found.every.arguments, "--apply", "fixes.csv", "-o", "CLEAN.csv"])
    return section("What to do", f"<pre>{shown(command)}</pre><pre>transferkit finetune CLEAN.csv</pre>", lead=lead)


def _places(found: Findings, rows: Sequence[int]) -> str:
    """Where images lie, each with its label; the first four of them."""
    lines = [f"<span>{shown(found.listing.relative(row))} <b>{shown(found.label(row))}</b></span>" for row in rows[:4]]
    return "".join(lines) + (f"<span>and {len(rows) - 4:,} more</span>" if len(rows) > 4 else "")


def _figure(found: Findings, rows: Sequence[int], lines: str, *, has_file: bool = True) -> str:
    paths = [found.listing.paths[row] for row in rows]
    pictures = "".join(f'<div class="picture">{thumbnail(path)}</div>' for path in paths)
    name = found.listing.relative(rows[0])
    file = f'<span class="file">{shown(name)}</span>' if has_file else ""
    return f'<figure title="{shown(name)}">{pictures}<figcaption>{lines}{file}</figcaption></figure>'


def _grid(figures: Sequence[str]) -> str:
    return f'<div class="mistakes">{"".join(figures)}</div>'
