"""transferkit serve"""

import os
import sys
from typing import TYPE_CHECKING

import click

from transferkit.cli import options, render

if TYPE_CHECKING:
    from transferkit.ship.serving.network import Wanted
    from transferkit.ship.serving.process import Here

MAX_TOP = 100  # bars of a photo


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL", shell_complete=options.paths)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 is all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option("--top", type=click.IntRange(1, MAX_TOP), default=5, show_default=True, help="How many classes to list.")
@options.max_error_option
@options.no_abstain_option
@click.option(
    "--max-photo-mb", type=click.IntRange(1, 1024), default=20, show_default=True, help="Largest file of a photo."
)
@click.option(
    "--max-photos", type=click.IntRange(1, 1000), default=32, show_default=True, help="Most photos of a request."
)
@click.option(
    "--max-requests",
    type=click.IntRange(1, 10_000),
    default=64,
    show_default=True,
    help="Most requests at work at the same time; any other is told to come back.",
)
@options.declared("bit_depth")
@options.declared("device")
@options.debug_option
def serve(model: str, host: str, port: int, top: int, max_error: float | None, no_abstain: bool, max_photo_mb: int,
          max_photos: int, max_requests: int, bit_depth: int | None, device: str | None) -> None:  # fmt: skip
    """Answer for photos over HTTP: a page to drop them on, and /predict for programs.

    POST /predict takes files of a form, or JSON, {"images": [BASE64, ...]}, and gives for each photo what `predict
    --format json` prints; GET /health says whether it runs. Ctrl-C or SIGTERM ends it.

    \b
    Examples:
      transferkit serve runs/photos-1
      curl -F photos=@new.jpg -F photos=@other.jpg http://127.0.0.1:8000/predict
    """
    from transferkit.ship.serving import server

    server.require()
    opened = server.listening(host, port)  # a port that is taken costs nobody the seconds that a model takes to load
    from transferkit.ship.serving.app import app
    from transferkit.ship.serving.limits import Limits
    from transferkit.ship.serving.network import Network, Wanted
    from transferkit.ship.serving.worker import Worker

    wanted = Wanted(
        model=model,
        device=device or "auto",
        bit_depth=bit_depth,
        top=top,
        max_error=max_error,
        abstains=not no_abstain,
    )
    network = Network(wanted) if os.name == "posix" else _here(wanted)
    worker = Worker(network)
    mb = 1 << 20
    limits = Limits(
        photo_bytes=max_photo_mb * mb,
        photos=max_photos,
        body_bytes=max(Limits.body_bytes, 2 * max_photo_mb * mb),  # as base64 it takes 4/3
        held_bytes=max(Limits.held_bytes, 4 * max_photo_mb * mb),
        requests=max_requests,
    )
    page = app(network.about, worker, limits, say=lambda line: render.say(line, err=True))
    server.serve(page, opened, started=lambda: _tell(server.address_of(opened, host), server.is_local(opened)))
    worker.stop(seconds=server.GRACE_SECONDS)
    network.close()
    render.say("stopped", err=True)


def _here(wanted: "Wanted") -> "Here":
    from transferkit.ship.serving.process import Here  # imports torch

    return Here(wanted)


def _tell(address: str, is_local: bool) -> None:
    render.say(address)
    sys.stdout.flush()
    if not is_local:
        render.say("everybody who reaches this address can use it: there is no password", err=True)
    render.say("Ctrl-C ends it", err=True)
