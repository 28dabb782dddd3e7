"""The server process: its socket, its signals, its end."""

import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from transferkit.zoo.errors import UsageError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

GRACE_SECONDS = 5  # for requests at work, once the end is asked for
IDLE_SECONDS = 15  # that a connection without a request is kept


def require() -> None:
    """Raise UsageError if a package is missing that serving needs."""
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"serve needs {error.name}: pip install 'transferkit[serve]'") from error


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections there; port 0 is any free one.

    Raises: UsageError if the host is no address of this machine, or the port is taken or not ours to take.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} of {host} is in use; name another with --port, 0 for any free one"
            ) from error
        if number == errno.EACCES:
            raise UsageError(f"port {port} may not be used by this user; name one above 1023 with --port") from error
        raise UsageError(f"{host} is no address of this machine; --host takes one, 0.0.0.0 for all") from error


def address_of(opened: socket.socket, host: str) -> str:
    """The address of the page."""
    return f"http://{f'[{host}]' if ':' in host else host}:{opened.getsockname()[1]}"


def is_local(opened: socket.socket) -> bool:
    """Whether programs of this machine alone reach it."""
    host = opened.getsockname()[0]
    return host == "::1" or host.startswith("127.")


def configured(app: "FastAPI") -> "uvicorn.Server":
    """A server of the app, which says nothing by itself."""
    import uvicorn

    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it warns of each body that is no form
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)


def serve(app: "FastAPI", opened: socket.socket, *, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what is at work; a second Ctrl-C waits for nothing.

    Args: started, called once a signal ends the server cleanly.
    """
    server = configured(app)
    with _asked(server):
        started()
        server.run(sockets=[opened])


@contextmanager
def _asked(server: "uvicorn.Server") -> Iterator[None]:
    """The block in which the signals that ask for the end end the server, and nothing else.

    uvicorn raises them once more when it has ended, for whoever had set a handler before: that is this one.
    """
    before = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
