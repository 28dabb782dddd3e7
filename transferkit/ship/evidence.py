"""What a report shows beside scores and photos: learning curve, calibration, abstention, audit, what `auto` weighed."""

from collections.abc import Sequence
from typing import Any

from transferkit.ship.markup import percent, section, shown, table
from transferkit.ship.plot import Plot, doublings, shares

MAX_GAINS = 5
LEAST_GAIN = 0.5  # points of recall
FEW_MISTAKES = 0.95  # accuracies above it are told in tenths
MAX_DISC = 9.0  # of a reliability diagram, in pixels


def learning_curve(block: dict[str, Any] | None, classes: Sequence[str]) -> str:
    """How accuracy would change with fewer and more photos, and which class ten more of its own would help most."""
    if not block:
        return ""
    images, curve = block["images"], block["line"]
    lows, highs = [each[2] for each in curve], [each[3] for each in curve]
    (bottom, top), ticks = shares(min([*lows, *(y for _, y in block["points"])]), max(highs))
    first, last = min(curve[0][0], block["points"][0][0]), curve[-1][0]
    plot = Plot((first, last), (bottom, top), x_label="photos", y_label="accuracy, %", is_log=True)
    plot.band([each[0] for each in curve], lows, highs)
    plot.line([(each[0], each[1]) for each in curve if each[0] <= images], "curve")
    plot.line([(block["now"][0], block["now"][1]), *((x, y) for x, y, *_ in curve if x > images)], "curve ahead")
    plot.dots(block["points"], "dot")
    now, twice = _forecast(block["now"]).partition(" (")[0], _forecast(block["twice"])
    title = f"With {images:,} photos about {now}, with twice as many about {twice}."
    drawn = plot.svg(x_ticks=doublings(first, last), y_ticks=ticks, title=title)
    lead = (
        f"With twice the photos, {block['twice'][0]:,}, about <strong>{twice}</strong> by cross-validation, where "
        f"{images:,} have about {now}. Discs are heads on the features of this network, fitted to parts of train and "
        "val and judged on the rest of them; dashed is the forecast, shaded its 95 % interval."
    )
    return section(
        "More photos", f'<div class="plots"><figure>{drawn}</figure>{_gains(block, classes)}</div>', lead=lead
    )


def _forecast(point: Sequence[float]) -> str:
    """Accuracy and interval in whole per cents, of very few mistakes in tenths."""
    digits = 1 if point[1] > FEW_MISTAKES else 0
    accuracy, low, high = (f"{100 * share:.{digits}f}" for share in point[1:])
    return f"{accuracy}\u202f% ({low} to {high})"


def _gains(block: dict[str, Any], classes: Sequence[str]) -> str:
    """The classes that more photos would help."""
    known, rows = [each for each in block["gains"] if each["label"] < len(classes)], []
    for each in known[:MAX_GAINS]:
        gain, low, high = (100 * share for share in (each["gain"], *each["interval"]))
        if gain >= LEAST_GAIN:
            figures = f"+{gain:.1f} <small>({low:.1f} to {high:.1f})</small>"
            rows.append((shown(classes[each["label"]]), f"{each['images']:,}", figures))
    if known and not rows:
        return '<p class="lead">Ten more photos of a class would add less than half a point to its recall.</p>'
    if not rows:
        return ""
    return table(("Ten more photos of", "Has", "Points of its recall"), rows, text=1)


def calibration(block: dict[str, Any] | None) -> str:
    """Reliability diagrams before and after the temperature."""
    if not block:
        return ""
    before, after = block["before"], block["after"]
    figures = "".join(
        f"<figure><figcaption>{name}: error {percent(each['ece'])}</figcaption>{reliability(each, name)}</figure>"
        for name, each in (("As trained", before), ("As shipped", after))
    )
    lead = (
        "Of the answers given with 80 % probability, 80 % should be right. Logits are divided by "
        f"{block['temperature']:.3g}, chosen on {block['images']:,} images that no fit has seen; the expected "
        f"calibration error goes from {percent(before['ece'])} to {percent(after['ece'])}."
    )
    return section("Can the probabilities be believed", f'<div class="plots">{figures}</div>', lead=lead)


def reliability(block: dict[str, Any], name: str) -> str:
    """The share of right answers over their mean probability, a disc a bin, larger where it has more images."""
    bins = [each for each in block["bins"] if each[2]]
    most = max((images for *_, images in bins), default=1)
    plot = Plot((0, 1), (0, 1), x_label="probability given, %", y_label="right, %")
    plot.line([(0, 0), (1, 1)], "ideal")
    points = [(confidence, accuracy) for confidence, accuracy, _ in bins]
    if len(points) > 1:
        plot.line(points, "curve")
    radius = [max(2.5, MAX_DISC * (images / most) ** 0.5) for *_, images in bins]
    plot.dots(points, "dot", radius=radius)
    said = "; ".join(f"{percent(x)} given, {percent(y)} of {images:,} right" for x, y, images in bins)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    return plot.svg(x_ticks=ticks, y_ticks=ticks, percent_x=True, title=f"{name}: {said}")


def abstention(block: dict[str, Any] | None) -> str:
    """The accuracy among the surest answers over how many they are."""
    if not block or not block["coverage"]:
        return ""
    points = sorted((share, accuracy) for share, accuracy in block["coverage"])
    (bottom, top), ticks = shares(min(y for _, y in points), max(y for _, y in points))
    plot = Plot((0, 1), (bottom, top), x_label="share answered, %", y_label="right among them, %")
    plot.line(points, "curve")
    share, accuracy = min(points, key=lambda point: abs(point[0] - 0.8))
    everything = f"all answered: {percent(points[-1][1])} right" if points[-1][0] == 1 else ""
    told = f"the surest {percent(share)} answered: {percent(accuracy)} right"
    title = "; ".join(filter(None, (told, everything)))
    drawn = plot.svg(x_ticks=[0, 0.25, 0.5, 0.75, 1], y_ticks=ticks, percent_x=True, title=title)
    lead = f"Where only the surest answers are given and the rest are left to a person: {title}."
    return section("Knowing when not to answer", f'<div class="plots"><figure>{drawn}</figure></div>', lead=lead)


def audit(block: dict[str, Any] | None) -> str:
    """What looking at the images found."""
    lines = "".join(f"<li>{shown(line)}</li>" for line in (block or {}).get("lines", ()))
    return section("What the images show", f"<ul>{lines}</ul>") if lines else ""


def tried(block: dict[str, Any] | None) -> str:
    """What `auto` weighed, from the probe to the fine-tuned network, and where the weights that it keeps lie."""
    if not block:
        return ""
    names = {0: "the probe: the head alone is fitted", 1: "the fine-tuned network"}
    rows = [
        (names.get(share, f"{100 * share:.0f}\u202f% of the way between their weights"), f"{loss:.3f}")
        for share, loss in block["way"]
    ]
    share = block["share"]
    kept = names.get(share, "").partition(":")[0] or f"the weights {100 * share:.0f}\u202f% of the way"
    rows.append((f"<strong>kept: {kept}</strong>", f"<strong>{block['loss']:.3f}</strong>"))
    error = "" if block["error"] is None else f" ± {block['error']:.3f}"
    how = ""
    if block["fits"] > 1:
        how = " Each fit was without another part. The mean of their weights loses about a tenth less, and that counts."
        how += f" It is the mean of {block['fits']} fits that is kept." if share > 0 else ""
    lead = (
        f"Loss once calibrated, lower is better, on {block['images']:,} images that the network had not seen. "
        f"Fine-tuning gains {block['gain']:.3f}{error} over the probe; weights in between are kept as far as these "
        f"images tell the two apart.{how}"
    )
    return section("What was tried, and why this one", table(("Network", "Calibrated loss"), rows, text=1), lead=lead)
