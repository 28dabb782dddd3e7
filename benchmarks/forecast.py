"""How far `transferkit finetune --dry-run` is from the run: seconds from start to exit, peak memory; a line a run.

python benchmarks/forecast.py FOLDER... [--runs "--strategy probe;--epochs 3"] [--budget 60s]

Each run of `--runs` is made on each FOLDER, forecast and run with empty caches, in turn. With `--budget` the run has to
keep it, and the line says what share of it was used. The last line: median and 90th percentile of the errors.
"""

import argparse
import json
import math
import statistics
import sys
from pathlib import Path

from harness import measure
from harness.measure import FRESH, Command

RUNS = (
    "--backbone cifar_resnet --strategy finetune",
    "--backbone cifar_resnet",
    "--backbone efficientnet_lite0 --strategy probe",
    "--backbone efficientnet_lite0 --strategy lp-ft --freeze blocks.4",
    "--backbone efficientnet_lite0",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--runs", default=";".join(RUNS), help="options of each run, with ; between them")
    parser.add_argument("--budget")
    given = parser.parse_args()
    errors = []
    for folder in given.folders:
        for options in given.runs.split(";"):
            line = compared(folder, options.split(), budget=given.budget)
            errors.append(abs(line["error"]))
            print(json.dumps({"folder": folder.name, "options": options, **line}), flush=True)
    errors.sort()
    ninth = errors[math.ceil(0.9 * len(errors)) - 1]
    print(json.dumps({"runs": len(errors), "median": round(statistics.median(errors), 3), "90 %": round(ninth, 3)}))


def compared(folder: Path, options: list[str], *, budget: str | None) -> dict:
    """What was forecast of a run, and what it took."""
    options = [*options, *(["--budget", budget] if budget else [])]
    forecast = transferkit("finetune", folder, *options, "--dry-run", "--json").result
    run = transferkit("finetune", folder, *options, "-o", f"{FRESH}/run", "--json")
    expected = sum(forecast["seconds"].values())
    found = {
        "forecast": round(expected, 1),
        "seconds": round(run.seconds, 1),
        "error": round((expected - run.seconds) / run.seconds, 3),
        "forecast_mb": round(forecast["memory_bytes"] / 1e6),
        "mb": round(run.peak_mb),
        "chosen": run.result["chosen"],
    }
    if budget:
        from transferkit import durations

        found["of_budget"] = round(run.seconds / durations.seconds(budget), 3)
    return found


def transferkit(*words: object) -> measure.Sample:
    """A command with a cache of its own, run once."""
    arguments = [sys.executable, "-m", "transferkit", *map(str, words), "--quiet", "--cache-dir", f"{FRESH}/cache"]
    return measure.run(Command(name="transferkit", arguments=arguments))


if __name__ == "__main__":
    main()
