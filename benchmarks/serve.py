"""`transferkit serve` answers all that it takes, right, beside 2,000 hostile bodies; beyond its limits it says 503.

python -m benchmarks.serve [--run RUN --photos FOLDER] [--seconds S] [--rate R]

Small photos are offered at 200 requests a second for 60 s, one a request, whether answers come or not, and the hostile
bodies among them. Server and who asks are two processes of the same machine. Without --run it is a probe on features
of `cifar_resnet`, of generated photos of 160 x 120 px. `lost` are requests without an answer, `wrong` are answers that
are neither those of `predict` (the same class, probabilities within 0.001) nor 503.
"""

import asyncio
import json
import signal
import statistics
import subprocess
import time
from argparse import Namespace
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import claim, hostile, measure, photos
from benchmarks.harness.work import OURS

PATIENCE_SECONDS = 60  # of who asks
HOSTILE = 2000
MOST_PHOTOS = 200


@dataclass(kw_only=True)
class Told:
    """What came of the requests, and of the hostile ones; seconds, of each that was served and of each 503."""

    counts: Counter = field(default_factory=Counter)
    hostile: Counter = field(default_factory=Counter)
    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


def main() -> None:
    parser = claim.options(__doc__, repeats=1)
    parser.add_argument("--run", type=Path, metavar="RUN", help="a run or model to serve  [default: one is made]")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos to send  [default: generated ones]")
    parser.add_argument("--seconds", type=float, default=60, help="[default: 60]")
    parser.add_argument("--rate", type=float, default=200, help="requests a second  [default: 200]")
    claim.measured(parser, offer)


def offer(given: Namespace) -> dict[str, Any]:
    """The figures of one server."""
    if given.quick:
        given.seconds, given.rate = 3, 20
    folder = given.photos or photos.write_photos(given.scratch / "small", train=160, val=40, size_px=(160, 120))
    run = given.run or made(given, folder)
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())[:MOST_PHOTOS]
    command = [*OURS, "predict", str(run), *map(str, paths), "--format", "json"]
    said = subprocess.run(command, cwd=measure.ROOT, capture_output=True, text=True, check=True).stdout
    expected = [json.loads(line) for line in said.splitlines()]
    command = [*OURS, "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, cwd=measure.ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline().rpartition(":")[2])
            files = [path.read_bytes() for path in paths]
            asyncio.run(
                offered(port, files, expected, Namespace(seconds=3, rate=given.rate, hostile=0))
            )  # full batches
            before = memory(server.pid)
            plan = Namespace(seconds=given.seconds, rate=given.rate, hostile=50 if given.quick else HOSTILE)
            told = asyncio.run(offered(port, files, expected, plan))
            after = memory(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
        code = server.wait(30)
    data = (
        f"{len(paths)} photos, {given.rate:g} requests a second for {given.seconds:g} s, {plan.hostile} hostile bodies"
    )
    return {"data": data, "figures": figures(told, given.seconds, before, after, code)}


def made(given: Namespace, folder: Path) -> Path:
    """A small run on these photos."""
    run = given.scratch / "run"
    options = ["--backbone", "cifar_resnet", "--strategy", "probe", "--overwrite"]
    measure.run(measure.Command(name="finetune", arguments=[*OURS, "finetune", str(folder), "-o", str(run), *options]))
    return run


def figures(told: Told, seconds: float, before: dict, after: dict, code: int) -> list[dict[str, Any]]:
    counts, none = told.counts, claim.at_most(0)
    found = [
        claim.figure("lost", counts["lost"], goal=none),
        claim.figure("wrong", counts["wrong"], goal=none),
        claim.figure("hostile bodies with 500, or without an end", told.hostile["bad"], goal=none),
        claim.figure("exit code at the end", code, goal=none),
        claim.figure("served", counts["served"] / seconds, unit="a second"),
        claim.figure("answered with 503", counts["refused"] / seconds, unit="a second"),
    ]
    for name, times in (("served", told.served), ("503", told.refused)):
        if len(times) > 1:
            cuts = statistics.quantiles(times, n=100)
            found += [claim.figure(f"{name}, {p} % within", 1000 * cuts[p - 1], unit="ms") for p in (50, 95, 99)]
    if before:
        found += [
            claim.figure("memory before", before["VmRSS"], unit="MB"),
            claim.figure("memory after", after["VmRSS"], unit="MB"),
            claim.figure("peak of memory", after["VmHWM"], unit="MB", goal=claim.at_most(before["VmRSS"] + 300)),
        ]
    return found


def memory(server: int) -> dict[str, float]:
    """What the server's processes have in memory and had at most, in MB; nothing where the system does not tell."""
    found: dict[str, float] = {}
    with suppress(OSError):
        threads = Path(f"/proc/{server}/task").glob("*/children")  # each tells of those that it started
        for process in (server, *"".join(each.read_text() for each in threads).split()):
            for line in Path(f"/proc/{process}/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in ("VmRSS", "VmHWM"):
                    found[name] = found.get(name, 0) + int(value.split()[0]) / 1024
    return found


async def offered(port: int, files: list[bytes], expected: list[dict], plan: Namespace) -> Told:
    """All requests, each at its time, whether those before are answered or not."""
    told, started = Told(), time.monotonic()
    count = round(plan.seconds * plan.rate)
    times = [(n / plan.rate, one(port, files, expected, n, told)) for n in range(count)]
    bad = hostile.requests(plan.hostile)
    times += [(n * plan.seconds / plan.hostile, provoke(port, body, told)) for n, body in enumerate(bad)]
    tasks = []
    for at, request in sorted(times, key=lambda each: each[0]):
        await asyncio.sleep(max(0, started + at - time.monotonic()))
        tasks.append(asyncio.create_task(request))
    await asyncio.gather(*tasks)
    return told


async def one(port: int, files: list[bytes], expected: list[dict], number: int, told: Told) -> None:
    """A request with one photo."""
    number %= len(files)
    started = time.monotonic()
    status, body = await asked(port, hostile.posted(hostile.form([("photo", files[number])])))
    seconds = time.monotonic() - started
    if status == 503:
        told.counts["refused"] += 1
        told.refused.append(seconds)
    elif status == 0:
        told.counts["lost"] += 1
    elif status == 200 and is_right(json.loads(body)["predictions"], expected[number]):
        told.counts["served"] += 1
        told.served.append(seconds)
    else:
        told.counts["wrong"] += 1


def is_right(given: list[dict], expected: dict) -> bool:
    if len(given) != 1 or "fault" in given[0] or "fault" in expected:
        return len(given) == 1 and given[0].get("fault") == expected.get("fault")
    near = abs(given[0]["probability"] - expected["probability"]) < 0.001
    return near and given[0]["label"] == expected["label"]


async def provoke(port: int, body: bytes, told: Told) -> None:
    """A hostile request: any answer that says no will do, also an end of the connection."""
    status, _ = await asked(port, body, is_whole=False)
    told.hostile["bad" if status == 500 or status == -1 else "answered" if status else "cut off"] += 1


async def asked(port: int, request: bytes, *, is_whole: bool = True) -> tuple[int, bytes]:
    """Status and body of the answer: 0 if there is none, -1 if nothing came in time."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await writer.drain()
        if not is_whole:
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body
    except (TimeoutError, asyncio.TimeoutError):
        return 0 if is_whole else -1, b""
    except OSError:
        return 0, b""
    finally:
        if writer:
            writer.close()


if __name__ == "__main__":
    main()
