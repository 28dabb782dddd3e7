"""Runs the scripts of this folder one after the other and writes benchmarks/RESULTS.md.

python -m benchmarks [NAME...] [--folders DIR] [--weights DIR] [--fastai-python PATH] [--slow] [--quick]

Each prints JSON lines, passed on as they come. Without NAME all run but the slow ones, in about an hour on 2 cores;
what cannot run says why. Without --folders and --weights, generated photos and random weights take the place of real
ones, which shows speed alone. Nothing else should run on the machine.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import results
from benchmarks.table import FOLDER, SCRIPTS, Script

COMMON = ("folders", "weights", "repeats")  # options that are passed on


def main() -> None:
    given = arguments()
    out = given.out or FOLDER
    failed = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as scratch:
        for script in SCRIPTS:
            if given.names and script.name not in given.names:
                continue
            lines = measure(script, given, scratch)
            if not lines:
                failed.append(script.name)
            elif given.out or not given.quick:  # a quick run is no result
                found = {"claim": claim_of(script), "command": command_of(script, given), "lines": lines}
                out.mkdir(parents=True, exist_ok=True)
                results.keep(out, script.name, found)
    if failed:
        sys.exit(f"error: these failed: {', '.join(failed)}")


def arguments() -> argparse.Namespace:
    """The options of the command line, the names known ones."""
    names = [script.name for script in SCRIPTS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--folders", metavar="DIR", help="holds real image folders, each train/ and test/")
    parser.add_argument("--weights", metavar="DIR", help="a timm model folder: mobilenetv2_100, ImageNet")
    parser.add_argument("--fastai-python", metavar="PATH", help="python of an environment with fastai and timm")
    parser.add_argument("--repeats", metavar="R", help="rounds of each  [default: each script's own, mostly 3]")
    parser.add_argument("--slow", action="store_true", help="also the slow ones")
    parser.add_argument("--quick", action="store_true", help="small sizes, once: shows that they run, measures nothing")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for RESULTS.md  [default: benchmarks; quick: none]")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(names))
    if unknown:
        parser.error(f"no script is named {', '.join(unknown)}; known: {', '.join(names)}")
    return given


def measure(script: Script, given: argparse.Namespace, scratch: str) -> list[dict[str, Any]]:
    """The lines that a script prints, passed on; none if it fails. A skipped one has a line that says why."""
    reason = reason_to_skip(script, given)
    if reason:
        line = {"benchmark": script.name, "skipped": reason}
        print(json.dumps(line), flush=True)
        return [line]
    command = [sys.executable, "-m", f"benchmarks.{script.name}"]
    if script.takes_common:
        command += ["--scratch", scratch, *(["--quick"] if given.quick else [])]
        for name in (*COMMON, *script.options):
            value = getattr(given, name)
            command += [f"--{name.replace('_', '-')}", str(value)] if value else []
    print(f"== {script.name}, about {script.minutes:g} min", file=sys.stderr, flush=True)
    lines = []
    path = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}  # scripts start others by their path
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(json.loads(line))
    return [] if process.returncode else lines


def reason_to_skip(script: Script, given: argparse.Namespace) -> str:
    """Why a script is not run, "" if it is."""
    if script.by_hand:
        return f"about {script.minutes:g} minutes and data of its own; by hand: {script.by_hand}"
    if not script.path.is_file():
        return "this version has no such script"
    if script.is_slow and not (given.slow or given.quick or given.names):
        return f"about {script.minutes:g} minutes; --slow runs it"
    if given.quick and not script.takes_common:
        return "it has no small size"
    return ""


def command_of(script: Script, given: argparse.Namespace) -> str:
    """How a reader runs the same."""
    if script.by_hand:
        return script.by_hand
    named = [name for name in (*COMMON, *script.options) if script.takes_common and getattr(given, name)]
    told = [f"--{name.replace('_', '-')} {given.repeats if name == 'repeats' else 'PATH'}" for name in named]
    return " ".join(["python", "-m", f"benchmarks.{script.name}", *told])


def claim_of(script: Script) -> str:
    """The first line of a script's docstring."""
    return ast.get_docstring(ast.parse(script.path.read_text())).splitlines()[0] if script.path.is_file() else ""


if __name__ == "__main__":
    main()
