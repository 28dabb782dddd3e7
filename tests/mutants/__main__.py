"""How many small errors in the code the tests notice: `python -m tests.mutants PLACE`, survivors listed.

cosmic-ray makes the errors, one at a time, in a copy of the repository. Each is judged by a fork of this process, which
has imported what is slow to import: a second instead of ten.
"""

import difflib
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import pytest
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import use_mutation

from tests.mutants.places import PLACES

REWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"  # of plugins that were imported before
SLOW = (
    *("albumentations", "hypothesis", "msgspec", "safetensors.torch", "scipy.stats", "sklearn.datasets"),
    *("sklearn.linear_model", "sklearn.metrics", "timm", "torch", "torchvision", "yaml"),
)
# Of an arithmetic or comparing operator, those that a slip of the pen would make; an annotation's | is no arithmetic.
PAIRS = {
    *("Add_Sub", "Sub_Add", "Mul_Div", "Mul_Add", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul"),
    *("LShift_RShift", "RShift_LShift", "BitAnd_BitXor", "USub_UAdd", "Invert_USub", "Delete_Not"),
    *("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
    *("Is_IsNot", "IsNot_Is"),
}


def mutations(path: Path) -> list[tuple[object, int]]:
    """Every operator with the number of each place in a file where it fits."""
    tree, found = get_ast_from_path(path), []
    for name in sorted(plugins.operator_names()):
        kind = plugins.get_operator(name)
        if kind.arguments() or ("/Replace" in name and "perator_" in name and name.partition("_")[2] not in PAIRS):
            continue
        operator = kind()
        nodes = [node for node in ast_nodes(tree) for _ in operator.mutation_positions(node)]
        found += [(operator, number) for number, node in enumerate(nodes) if not is_beyond(node)]
    return found


def is_beyond(node) -> bool:
    """A `*` of a signature, call or display; an exception with a dot, which cosmic-ray cannot replace."""
    is_star = node.type == "operator" and node.value in ("*", "**") and node.parent.type not in ("term", "power")
    return is_star or (node.type == "except_clause" and "." in node.get_code())


def passes(tests: list[str], seconds: float) -> bool:
    """Whether the tests pass in a fork of this process, and in time."""
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.alarm(int(seconds))
        with open("said", "w") as said:
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
        options = ["-x", "-q", "-p", "no:cacheprovider", "-W", REWRITTEN, "--hypothesis-seed=0", "--tb=no"]
        try:
            code = int(pytest.main([*options, *tests]))
        except BaseException as error:  # none may reach what the parent has on its stack
            sys.stdout.write(f"{error!r}\n")
            sys.stdout.flush()
            code = 70
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    return status == 0


@click.command(help=__doc__)
@click.argument("place", type=click.Choice(sorted(PLACES)))
@click.option("--most", default=1000, help="Mutants of a file; of more, a sample that is always the same.")
@click.option("--again", type=click.File(), help="What an earlier run printed: only its survivors are tried again.")
def main(place: str, most: int, again) -> None:
    earlier = again.read() if again else None
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    with tempfile.TemporaryDirectory() as copy:
        for file in filter(os.path.isfile, files):
            (Path(copy) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, Path(copy) / file)
        os.chdir(copy)
        sys.path.insert(0, copy)
        os.environ |= {"PYTHONPATH": copy, "PYTHONDONTWRITEBYTECODE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
        os.environ |= {"OMP_NUM_THREADS": "1"}
        sys.dont_write_bytecode = True
        for name in SLOW:
            importlib.import_module(name)
        killed = total = 0
        for module, tests in PLACES[place].items():
            begin = time.monotonic()
            if not passes(tests, 600):
                raise click.ClickException(f"the tests of {module} fail as it is:\n{Path('said').read_text()}")
            seconds = 20 + 10 * (time.monotonic() - begin)
            path, own = Path(module), [0, 0]
            chosen = mutations(path)
            if len(chosen) > most:
                chosen = random.Random(0).sample(chosen, most)
            for operator, number in chosen:
                with use_mutation(path, operator, number) as (code, changed):
                    lines = difflib.unified_diff(code.splitlines(), changed.splitlines(), lineterm="", n=0)
                    shown = f"{module} " + "\n    ".join(list(lines)[2:])
                    survived = (earlier is None or shown in earlier) and passes(tests, seconds)
                own = [own[0] + (not survived), own[1] + 1]
                if survived:
                    click.echo(shown)
            click.echo(f"{module}: {own[0]} of {own[1]} killed")
            killed, total = killed + own[0], total + own[1]
    click.echo(f"{place}: {killed} of {total} killed, {100 * killed / total:.0f} %")


if __name__ == "__main__":
    main()
