"""The command `transferkit`: its sub-commands, and one line with an exit code for everything that goes wrong."""

import gc
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress

import click

from transferkit import __version__, cores, ranks, scratch
from transferkit.cli import streams
from transferkit.cli.audit import audit
from transferkit.cli.cache import cache
from transferkit.cli.compare import compare
from transferkit.cli.demo import demo
from transferkit.cli.ensemble import ensemble
from transferkit.cli.evaluate import evaluate
from transferkit.cli.export import export
from transferkit.cli.finetune import finetune
from transferkit.cli.import_weights import import_weights
from transferkit.cli.lr import lr
from transferkit.cli.predict import predict
from transferkit.cli.pretrain import pretrain
from transferkit.cli.push import push
from transferkit.cli.rank import rank
from transferkit.cli.report import report
from transferkit.cli.serve import serve
from transferkit.cli.zoo import zoo
from transferkit.zoo import stops
from transferkit.zoo.errors import (
    EndedElsewhereError,
    RankLostError,
    StoppedError,
    StorageError,
    TransferkitError,
    UsageError,
)
from transferkit.zoo.text import printable

GARBAGE = 100_000  # new objects between two searches for cycles; with Python's 700 a quarter of a start is searching
TRAINING = {"finetune", "lr", "pretrain", "demo"}  # commands that import torch's compiler
ALIASES = {"train": "finetune", "val": "evaluate"}  # what others call them


class Commands(click.Group):
    """A group whose commands may be called by the names that other tools have for them."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list]:
        """The command of the first argument, by its own name."""
        return super().resolve_command(ctx, [ALIASES.get(args[0], args[0]), *args[1:]])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="transferkit")
@click.pass_context
def cli(context: click.Context) -> None:
    """Point it at a folder of photos; get the best classifier this machine can train, with proof.

    \b
    Start here:
      transferkit demo                       try everything on an embedded data set
      transferkit finetune PHOTOS            PHOTOS holds a folder of images for each class
      transferkit predict runs/PHOTOS-1 NEW  what is on new photos
    """
    if ranks.launched() and context.invoked_subcommand != "finetune":
        raise UsageError(f"transferkit {context.invoked_subcommand} runs in one process; start it without torchrun")


for command in (
    finetune,
    audit,
    rank,
    lr,
    evaluate,
    compare,
    predict,
    export,
    serve,
    push,
    ensemble,
    zoo,
    import_weights,
    report,
    pretrain,
    cache,
    demo,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and end the process with the exit code of what happened.

    It ends at once: to take torch and timm apart module by module takes a second or more, and where several processes
    share a run it may wait for exchanges that nobody joins. So nothing here may count on `atexit`.
    """
    stops.take()
    gc.set_threshold(GARBAGE)
    cores.wait_asleep()
    os.environ["PYTHONSAFEPATH"] = "1"  # whatever Python a library starts: nothing of the current folder
    code = run(sys.argv[1:], before=streams.own)
    with suppress(OSError, StorageError, streams.ReaderGoneError):  # `run` has told of it
        sys.stdout.flush()
    os._exit(code)


def run(arguments: list[str], *, before: Callable[[], None] | None = None) -> int:
    """Run the command line on `arguments`, after `before`; the exit code."""
    try:
        with stops.working():
            if before:
                before()
            name = ALIASES.get(arguments[0], arguments[0]) if arguments else ""
            with scratch.compiler() if name in TRAINING else nullcontext(), ranks.joined():
                code = cli.main(arguments, prog_name="transferkit", standalone_mode=False, obj=arguments) or 0
            sys.stdout.flush()
        return code
    except EndedElsewhereError as error:
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except streams.ReaderGoneError:
        return 0
    except (KeyboardInterrupt, click.Abort) as error:
        return _report(error, f"interrupted{_resume_hint(error.__cause__ or error)}", stops.INTERRUPTED, arguments)
    except (StoppedError, RankLostError) as error:
        return _report(error, f"{error}{_resume_hint(error)}", error.exit_code, arguments)
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message)
        if stops.claim():
            error.show()
        return error.exit_code
    except TransferkitError as error:
        return _report(error, str(error), error.exit_code, arguments)
    except Exception as error:  # a bug: said as one, never as a traceback nobody asked for
        crash_file = getattr(error, "crash_file", None)
        where = f"the traceback is in {crash_file}" if crash_file else "--debug shows the traceback"
        return _report(error, f"a bug in transferkit: {type(error).__name__}: {error}; {where}", 1, arguments)


def _report(error: BaseException, message: str, exit_code: int, arguments: list[str]) -> int:
    if "--debug" in arguments:
        traceback.print_exception(error)
    if stops.claim():
        click.echo("error: " + printable(" ".join(message.split())), err=True)
    return exit_code


def _resume_hint(error: BaseException) -> str:
    folder = getattr(error, "run_folder", None)
    words = ["transferkit", "finetune", "--resume", "-o", str(folder)]
    return f"; resume with: {shlex.join(words)}" if folder else ""
