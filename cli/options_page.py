"""Makes docs/options.md: python -m transferkit.cli.options_page > docs/options.md"""

import click

from transferkit.cli import options
from transferkit.option import GROUPS, dashed
from transferkit.options import DECLARED, kind_of
from transferkit.signature import default_words
from transferkit.train import strategies

HEAD = """# Options of a run

Made by `python -m transferkit.cli.options_page > docs/options.md` from `transferkit/options.py`, where each option is
declared once. On the command line they are `--options`; in Python keyword arguments of `transferkit.finetune`, fields
of `FinetuneConfig`, and keys of a file given with `--config`. *Used by* names the strategies that use an option.
"""
KINDS = {bool: "flag", int: "whole number", float: "number", str: "text"}


def page() -> str:
    """The text of docs/options.md."""
    sections = [_section(group) for group in GROUPS]
    return "\n".join([HEAD, _strategies(), *sections])


def _strategies() -> str:
    rows = [f"| `{strategy.name}` | {strategy.help} |" for strategy in strategies.TABLE]
    return "\n".join(["## Strategies", "", "| name | what it does |", "|---|---|", *rows, ""])


def _section(group: str) -> str:
    rows = [_row(name) for name, about in DECLARED.items() if about.group == group]
    columns = ["| option | allowed | default | used by | what it is for |", "|---|---|---|---|---|"]
    return "\n".join([f"## {group.capitalize()}", "", *columns, *rows, ""])


def _row(name: str) -> str:
    about = DECLARED[name]
    cells = (f"`{dashed(name)}`", _allowed(name), default_words(name), _users(about.needs), options.help_of(name))
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _allowed(name: str) -> str:
    about = DECLARED[name]
    choices = options.CHOICES.get(name, about.choices)
    if choices:
        return ", ".join(choices)
    words = KINDS[kind_of(name)]
    return words if about.low is None else f"{words}, {about.low:g} to {about.high:g}"


def _users(needs: str) -> str:
    """The strategies that use an option, also where another option makes them train by mini-batches."""
    if not needs:
        return "all"
    found = [each.name for each in strategies.TABLE if getattr(each, needs)]
    others = {each.name for each in strategies.EVERY if getattr(each, needs)}.difference(found)
    return ", ".join([*found, *(f"{name} by mini-batches" for name in sorted(others))])


if __name__ == "__main__":
    click.echo(page(), nl=False)
