"""The report of a run: one HTML file that a person reads, sends and prints, with nothing beside it."""

import base64
import shlex
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from transferkit import tasks
from transferkit.messages import seen_words
from transferkit.ship import curves, evidence, mistakes, multi_label_page, overlays, run_files, single_label_page
from transferkit.ship.markup import duration, percent, section, shown, table
from transferkit.ship.mistakes import Case
from transferkit.zoo.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_LISTED = 100  # rows of files left out; the rest stands in quarantine.csv and run.json
PAGES = {tasks.SingleLabel.name: single_label_page, tasks.MultiLabel.name: multi_label_page}
BEST = "Best is where the validation loss is lowest."
BEST_EPOCH = (
    " Of epochs it is the calibrated loss, what is left once the answers are made as sure as they are right. Of few "
    "images strategy auto keeps the last epoch, and then as much of it as is best."
)
OUT_OF_FOLD = "the images of train and val, each judged by a fit without it"


def write(run: Path, *, predictions: Sequence[run_files.Prediction], name: Path | None = None) -> Path:
    """Write RUN/report.html and RUN/curves.png from the files of a run and return the path of the report.

    Args: predictions of the judged part, which is test where there is one, else validation; paths are opened as given;
    name, what the run is called, by default its folder.
    Raises: UsageError or ModelFileError if run.json or metrics.json is missing or damaged; StorageError.
    """
    name = name or run
    record, scores = run_files.read_record(run), run_files.read_scores(run)
    part, block = _part(scores), scores.get("test") or scores["val"]
    page, classes = PAGES[tasks.of_scores(scores).name], scores["classes"]
    told = _notes(record, scores)
    if fault := overlays.fault(run):
        told.append(f"There are no heat maps: {fault}")
    notes = "".join(f'<p class="note">{shown(note)}</p>' for note in told)
    figures = curves.draw(curves.read(run), chosen=(scores.get("snapshots") or {}).get("chosen"))
    sections = [
        _facts(record, scores, validation=page.brief(scores["val"])),
        evidence.tried(scores.get("tried")),
        _curves(figures),
        _snapshots(scores.get("snapshots")),
        _tta(scores.get("tta")),
        *page.tables(block, classes, part=part),
        _further(block),
        evidence.learning_curve(scores.get("learning_curve"), classes),
        evidence.calibration(scores.get("calibration")),
        evidence.abstention(scores.get("abstention")),
        evidence.audit(scores.get("audit")),
        *_photos(scores, predictions, overlays.read(run), record["config"].get("bit_depth")),
        _left_out("Images refused", run_files.read_rows(run / "quarantine.csv", ("path", "reason"))),
        _left_out("Entries ignored", [tuple(entry) for entry in record["data"]["ignored"]]),
        _command(name, record),
    ]
    text = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8")).substitute(
        title=f"{page.brief(block)} on {part}: {shown(name.resolve().name)}",
        run=f"transferkit report of {shown(name.resolve().name)}",
        headline=page.headline(block, part=part) + notes,
        sections="\n".join(sections),
    )
    write_text(run / "report.html", text)
    curves.write(run, figures)
    return run / "report.html"


def shown_cases(scores: dict[str, Any], predictions: Sequence[run_files.Prediction]) -> list[Case]:
    """The photos that a report shows, the worst mistakes, then the least certain answers."""
    wrong, uncertain, _ = _cases(scores, predictions)
    return wrong + uncertain


def _cases(scores: dict[str, Any], predictions: Sequence[run_files.Prediction]) -> tuple[list[Case], list[Case], str]:
    """The worst mistakes, the least certain answers, and how many mistakes there are, in words."""
    page, classes, part = PAGES[tasks.of_scores(scores).name], scores["classes"], _part(scores)
    wrong, lead = page.mistakes(predictions, classes, part=part)
    uncertain = page.uncertain(predictions, scores.get("test") or scores["val"], classes)
    return mistakes.first(wrong, mistakes.MAX_MISTAKES), mistakes.first(uncertain, mistakes.MAX_UNCERTAIN), lead


def _photos(
    scores: dict[str, Any],
    predictions: Sequence[run_files.Prediction],
    maps: overlays.Maps,
    bit_depth: int | None,
) -> list[str]:
    """The worst mistakes and the least certain answers as pictures."""
    wrong, uncertain, lead = _cases(scores, predictions)
    worst = f"{lead}; these {len(wrong)} it was surest of. Look for wrong labels."
    least = f"The {len(uncertain)} answers that could most easily have been another."
    return [
        mistakes.pictures("The worst mistakes", wrong, maps, lead=worst, bit_depth=bit_depth),
        mistakes.pictures("The least certain answers", uncertain, maps, lead=least, bit_depth=bit_depth),
    ]


def _part(scores: dict[str, Any]) -> str:
    """What judges: test where there is one."""
    return "test" if scores.get("test") else "validation"


def _notes(record: dict[str, Any], scores: dict[str, Any]) -> list[str]:
    """What to know of the headline, then what the run has to say."""
    told = (scores.get("tried") or {}).get("note")  # in a section of its own
    notes = [note for note in scores.get("notes", ()) if note != told]
    if words := seen_words(scores.get("test") or scores["val"]):
        notes.insert(0, f"These are images {words}.")
    if scores.get("test"):
        return notes
    caution = "There was no test part. These images also chose the settings, so expect a little less."
    return [f"{caution} They are {OUT_OF_FOLD}." if _is_out_of_fold(record, scores) else caution, *notes]


def _is_out_of_fold(record: dict[str, Any], scores: dict[str, Any]) -> bool:
    """Whether validation judged more images than are in val: a probe, and auto of few images, is judged by folds."""
    return scores["val"]["n"] > record["data"]["images"]["val"]


def _facts(record: dict[str, Any], scores: dict[str, Any], *, validation: str) -> str:
    """What was trained, on what, with what; and the score in validation, where there is another."""
    images = record["data"]["images"]
    parts = ", ".join(f"{count:,} {shown(part)}" for part, count in images.items() if count)
    facts = [
        ("Backbone", shown(scores["backbone"])),
        ("Strategy", f"{shown(scores['strategy'])} <small>chosen: {shown(scores['chosen'])}</small>"),
        ("Images", f"{sum(images.values()):,} <small>{parts}</small>"),
        ("Classes", f"{len(scores['classes']):,}"),
        ("Took", duration(scores["seconds"]["total"])),
    ]
    if scores.get("test"):
        judged = f"of {scores['val']['n']:,}" + (f": {OUT_OF_FOLD}" if _is_out_of_fold(record, scores) else "")
        facts.append(("Validation", f"{validation} <small>{judged}</small>"))
    tiles = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    settings = {"seed": record["seed"], "threads": record["threads"], "precision": record["config"]["precision"]}
    tools = settings | record["versions"]
    made_with = ", ".join(f"{shown(name)} {shown(value)}" for name, value in tools.items())
    tiles += f'<div class="wide"><dt>Made with</dt><dd>{made_with}</dd></div>'
    return section("What was trained", f'<dl class="facts">{tiles}</dl>')


def _curves(drawn: "dict[str, Figure]") -> str:
    figures = [
        f'<figure><figcaption>{shown(caption)}</figcaption><img alt="{shown(caption)}" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(curves.svg(figure).encode()).decode()}"></figure>'
        for caption, figure in drawn.items()
    ]
    body = f'<div class="curves">{"".join(figures)}</div>'
    lead = BEST + BEST_EPOCH * any("epochs" in caption for caption in drawn)
    return section("How it learned", body, lead=lead) if figures else ""


def _snapshots(block: dict[str, Any] | None) -> str:
    """What averaging the snapshots of a cyclic schedule gave, and whether the average was kept."""
    if not block:
        return ""
    members, n, loss = block["members"], block["n"], block["loss"]
    gain = block["ensemble"] - block["single"]
    figures = f"{100 * gain:+.1f} points of accuracy ({round(gain * n):+,} of {n:,} validation images)"
    change = f"{figures} and a calibrated loss of {loss['ensemble']:.3f} in place of {loss['single']:.3f}"
    if block["chosen"] == "ensemble":
        lead = f"The average of all {members} snapshots is kept. Over the last one alone it gives {change}."
    else:
        what = "The last snapshot alone" if block["chosen"] == "single" else f"The {block['chosen']}, and no snapshot,"
        lead = f"{what} is kept. Over the last snapshot the average of all {members} would give {change}."
    rows = [
        ("last snapshot alone", percent(block["single"]), f"{loss['single']:.3f}"),
        (f"average of all {members}", percent(block["ensemble"]), f"{loss['ensemble']:.3f}"),
    ]
    return section("Snapshots", table(("On validation", "Accuracy", "Calibrated loss"), rows, text=1), lead=lead)


def _tta(block: dict[str, Any] | None) -> str:
    """What averaging over mirror images gave, and whether it is used."""
    if not block:
        return ""
    rows = [
        (name, percent(block["accuracy"][key]), f"{block['loss'][key]:.4f}")
        for key, name in (("plain", "the photo alone"), ("averaged", "mean with its mirror image"))
    ]
    what = "It is part of the model, and takes twice the time." if block["used"] else "It is not part of the model."
    ends = "" if block["interval"] is None else " (95 % interval {:.4f} to {:.4f})".format(*block["interval"])
    lead = f"On {block['n']:,} images that judge, averaging gains {block['gain']:.4f} of calibrated loss{ends}. {what}"
    return section("Mirror averaging", table(("On validation", "Accuracy", "Calibrated loss"), rows, text=1), lead=lead)


def _further(block: dict[str, Any]) -> str:
    """The scores that neither the headline nor the classes have."""
    rows = [(words[0].upper() + words[1:], figure) for words, figure in tasks.further(block).items()]
    lead = (
        "Balanced accuracy and macro figures count every class the same. The calibration error is how far the shares "
        "right are from what was said, in the mean: with few images it is a little more than 0 by chance."
    )
    return section("More scores", table(("Score", ""), rows, text=1), lead=lead) if rows else ""


def _left_out(title: str, entries: Sequence[Sequence[str]]) -> str:
    if not entries:
        return ""
    rows = [(shown(path), shown(reason)) for path, reason, *_ in entries[:MAX_LISTED]]
    lead = f"{len(entries):,} in all" + (f"; the first {MAX_LISTED} are listed." if len(entries) > MAX_LISTED else ".")
    return section(title, table(("Path", "Reason"), rows, text=2), lead=lead)


def _command(run: Path, record: dict[str, Any]) -> str:
    program, arguments = Path(record["command"][0]), record["command"][1:]
    is_ours = program.stem == "transferkit" or program.parts[-2:] == ("transferkit", "__main__.py")  # or python -m
    command = shlex.join(["transferkit" if is_ours else program.name, *arguments])
    again = shlex.join(["transferkit", "finetune", "--config", str(run / "run.json")])
    lead = "The command that was given, and the one that repeats it with every setting as it was."
    return section("Run it again", f"<pre>{shown(command)}</pre><pre>{shown(again)}</pre>", lead=lead)
