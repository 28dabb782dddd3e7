"""transferkit zoo"""

import dataclasses
from typing import Any

import click

from transferkit.cli import options, render
from transferkit.zoo import catalog, sources
from transferkit.zoo.card_list import HEADER
from transferkit.zoo.errors import UsageError

MEGABYTES_EACH = 4e-6  # of a parameter in single precision


@click.group()
def zoo() -> None:
    """The pretrained networks that --backbone knows."""


@zoo.command("list")
@click.argument("pattern", required=False)
@options.debug_option
def list_networks(pattern: str | None) -> None:
    """List the networks that need no hub, or all known names that match PATTERN, those of libraries too.

    \b
    Examples:
      transferkit zoo list
      transferkit zoo list '*convnext*tiny*'
      transferkit zoo list siglip2
    """
    if pattern:
        found = catalog.search(pattern)
        if not found:
            near = catalog.suggest(pattern)
            raise UsageError(f"no network is named like {pattern}" + f"; near it are {', '.join(near)}" * bool(near))
        for name in found:
            render.say(name)
        return
    render.table(HEADER, catalog.cards().rows())
    click.echo(f"\nBesides: {', '.join(source.help for source in sources.SOURCES if not source.travels)};")
    click.echo("transferkit zoo list 'PATTERN' searches them.")


@zoo.command()
@click.argument("name", shell_complete=options.networks)
@options.json_option
@options.debug_option
def show(name: str, as_json: bool) -> None:
    """Show the card of a network: preprocessing, licence, source and measured accuracy."""
    card = catalog.describe(name)
    if as_json:
        render.data(dataclasses.asdict(card), indent=1)
        return
    size = " x ".join(str(side) for side in card.preprocessing.size_px)
    render.facts({
        "name": card.name,
        "architecture": card.architecture,
        "parameters": f"{card.parameters:,}, {MEGABYTES_EACH * card.parameters:,.0f} MB",
        "images": f"{size} px, {card.preprocessing.interpolation}, crop {card.preprocessing.crop_pct}",
        "mean, std": f"{card.preprocessing.mean}, {card.preprocessing.std}",
        "licence": card.license,
        "source": card.source,
        **({"about": card.description} if card.description else {}),
        **{f"accuracy, {data}": _words(score) for data, score in card.measured.items()},
    })  # fmt: skip


def _words(score: Any) -> str:
    """An accuracy with its interval where a card has these, else what the card says, as it stands."""
    if not isinstance(score, dict) or not {"accuracy", "interval"} <= score.keys():
        return str(score)
    low, high = score["interval"]
    return f"{100 * score['accuracy']:.2f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"


@zoo.command()
@click.argument("name", shell_complete=options.networks)
@options.debug_option
def fetch(name: str) -> None:
    """Download the weights of a network, so that it can be used without a connection."""
    model = catalog.create(name)
    render.say(f"{model.card.name} is on this machine: {model.card.parameters:,} parameters")
