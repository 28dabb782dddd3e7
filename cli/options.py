"""Options that several commands share, and those of a fine-tuning run as transferkit/options.py declares them."""

import glob
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from transferkit.choices import MAX_ERROR
from transferkit.option import GROUPS, RUN, dashed
from transferkit.options import DECLARED, kind_of
from transferkit.signature import default_words
from transferkit.train import strategies
from transferkit.zoo import catalog
from transferkit.zoo.names import SIDE_BY_SIDE

# what stands in a table above the ground floor, where options are declared
CHOICES = {"strategy": [strategy.name for strategy in strategies.TABLE]}
HELP = {"strategy": strategies.help_text()}

Decorator = Callable[[Any], Any]
Completions = list[CompletionItem]


def paths(context: click.Context, parameter: click.Parameter, typed: str) -> Completions:
    """What a shell offers for a file or folder."""
    return [CompletionItem(typed, type="file")]


def networks(context: click.Context, parameter: click.Parameter, typed: str) -> Completions:
    """What a shell offers for a network: known names that begin so, else files."""
    *before, last = typed.split(SIDE_BY_SIDE)
    found = catalog.search(f"{glob.escape(last)}*") if last else []
    return [CompletionItem(SIDE_BY_SIDE.join([*before, name])) for name in found] or paths(context, parameter, typed)


COMPLETED = {"backbone": networks, "out": paths, "weights": paths, "augment": paths, "cache_dir": paths}


class GroupedOption(click.Option):
    """An option with the group of the help that it stands in."""

    def __init__(self, *names: Any, group: str = RUN, **given: Any):
        super().__init__(*names, **given)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help has a section for each group of options."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, in the order of `GROUPS`."""
        options = [each for each in self.get_params(context) if isinstance(each, click.Option)]
        found = [(getattr(each, "group", RUN), each.get_help_record(context)) for each in options]
        for group in GROUPS:
            if rows := [row for name, row in found if row and name == group]:
                with formatter.section(group.capitalize()):
                    formatter.write_dl(rows)


def declared(name: str, *, choices: Sequence[str] = (), help: str = "", rule: str = "") -> Decorator:
    """The option of a field of `Options`; choices, help and the words for its default may be other ones."""
    about, kind = DECLARED[name], kind_of(name)
    choices = choices or CHOICES.get(name, about.choices)
    words = rule or default_words(name)
    given: dict[str, Any] = {
        "help": (help or help_of(name)) + (f"  [default: {words}]" if words else ""),
        "cls": GroupedOption,
        "group": about.group,
        "default": None,
    }
    if kind is bool:
        return click.option(dashed(name), is_flag=True, **given)

    def checked(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        about.check(name, value)
        return value

    type_ = click.Choice(list(choices)) if choices and not about.metavar else kind
    names = filter(None, (about.short, dashed(name)))
    completed = COMPLETED.get(name)
    return click.option(*names, type=type_, metavar=about.metavar, callback=checked, shell_complete=completed, **given)


def help_of(name: str) -> str:
    """What an option is for, from its declaration, or from the table of what it may be."""
    return HELP.get(name, DECLARED[name].help)


def every_declared(function: Any) -> Any:
    """Every option of a run, in the order of their declaration."""
    for name in reversed(DECLARED):
        function = declared(name)(function)
    return function


def how_images_are_read(function: Any) -> Any:
    """The options of a command that reads all images and computes features, and trains nothing."""
    names = ("image_size", "bit_depth", "precision", "workers", "seed", "device", "cache_dir", "offline")
    for name in reversed(names):
        function = declared(name)(function)
    return function


def how_labels_are_found(function: Any) -> Any:
    """The options of a command that takes DATA, for where its names alone do not say which its labels are."""
    return declared("label_column")(declared("label_from")(function))


def as_given(given: Mapping[str, Any], *names: str) -> list[str]:
    """Those of some options that were given, as they are written on the command line."""
    return [word for name in names if name in given for word in (dashed(name), str(given[name]))]


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
max_error_option = click.option(
    "--max-error",
    type=click.FloatRange(0, 1),
    help=f"Share of the answers that may be wrong; the less, the more photos are not sure.  [default: {MAX_ERROR}]",
)
no_abstain_option = click.option(
    "--no-abstain", is_flag=True, help="Name every photo, whether the answer is sure or not."
)
