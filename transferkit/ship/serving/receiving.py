"""What comes in over a connection: the body of a request within limits, and refusals that reach who sent too much."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from transferkit.ship.serving.limits import Limits, RefusedError

RETRY_SECONDS = 1
LINGER_SECONDS = 3  # after a refusal, for what the client is still sending


class Gate:
    """Counts the requests at work and the bytes that they hold. Used in one thread alone, that of the event loop."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.requests = self.held_bytes = 0

    @contextmanager
    def entered(self) -> Iterator["Body"]:
        """The block of one request. Raises: RefusedError, 503, if too many are at work."""
        if self.requests >= self.limits.requests:
            raise RefusedError(503, f"{self.limits.requests} requests are at work; try again in a moment")
        self.requests += 1
        body = Body(self)
        try:
            yield body
        finally:
            self.requests -= 1
            self.held_bytes -= body.held


class Body:
    """The body of a request."""

    def __init__(self, gate: Gate):
        self.gate, self.held = gate, 0

    async def read(self, request: Request) -> bytes:
        """All of it. Raises: RefusedError once it is larger or slower than it may be, or no memory is left for it."""
        limits = self.gate.limits
        said = request.headers.get("content-length", "")
        if said.isdigit() and len(said) < 19:  # one more digit is refused below
            self._check(int(said))
        parts, started, stream = [], time.monotonic(), request.stream()
        try:
            while True:
                left = limits.patience_seconds + self.held / limits.slowest_bytes - (time.monotonic() - started)
                part = await asyncio.wait_for(anext(stream), max(left, 0))
                self._check(self.held + len(part))
                self.held += len(part)
                self.gate.held_bytes += len(part)
                parts.append(part)
        except StopAsyncIteration:
            return b"".join(parts)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise RefusedError(408, "the body comes too slowly") from error
        except ClientDisconnect as error:
            raise RefusedError(400, "the body was cut off") from error

    def _check(self, bytes: int) -> None:
        limits = self.gate.limits
        if bytes > limits.body_bytes:
            raise RefusedError(413, f"a request may have {limits.body_bytes >> 20} MB; send the photos in several")
        if self.gate.held_bytes + bytes - self.held > limits.held_bytes:
            raise RefusedError(503, "the requests at work hold all the memory there is for them; try again in a moment")


class Refusal(JSONResponse):
    """Why a request is not served. The connection stays open for a moment and ends then.

    Were it closed while the client is still sending, its system would throw the answer away unread.
    """

    def __init__(self, error: RefusedError):
        headers = {"Connection": "close"} | ({"Retry-After": str(RETRY_SECONDS)} if error.status == 503 else {})
        super().__init__({"error": str(error)}, error.status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it, then receive and drop what comes."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(_drained(receive), LINGER_SECONDS)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drained(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass
