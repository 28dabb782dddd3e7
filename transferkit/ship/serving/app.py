"""The FastAPI app of a classifier."""

import asyncio
import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from transferkit.ship.prediction import Prediction
from transferkit.ship.serving import bodies
from transferkit.ship.serving.limits import Limits, RefusedError
from transferkit.ship.serving.network import About
from transferkit.ship.serving.receiving import Gate, Refusal
from transferkit.ship.serving.worker import Worker
from transferkit.zoo.text import first_line

PAGE = Path(__file__).with_name("page.html")
INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)
FORM = {"type": "object", "properties": {"photos": {"type": "array", "items": {"type": "string", "format": "binary"}}}}
IMAGES = {"type": "object", "properties": {"images": {"type": "array", "items": {"type": "string", "format": "byte"}}}}
REQUEST = {"content": {bodies.FORM: {"schema": FORM}, bodies.JSON: {"schema": IMAGES}}, "required": True}


def app(about: About, worker: Worker, limits: Limits, *, say: Callable[[str], None]) -> FastAPI:
    """The page at `/`, `POST /predict`, `GET /health`.

    Args: about, what is served; worker, which answers with predictions; say, called with a line on whatever goes wrong.
    """
    made = FastAPI(title="transferkit", docs_url=None, redoc_url=None)  # those pages take scripts from elsewhere
    gate = Gate(limits)
    told = {
        "classes": list(about.classes),
        "names_one": about.names_one,
        "limits": {name: getattr(limits, name) for name in ("photo_bytes", "photos", "body_bytes")},
    }
    html = PAGE.read_text("utf-8")
    headers = {"Content-Security-Policy": _policy(html), "Referrer-Policy": "no-referrer"}

    @made.get("/", include_in_schema=False)
    def page() -> Response:
        return HTMLResponse(html, headers=headers)

    @made.get("/health")
    async def health() -> Response:
        status = {"status": "ok" if worker.is_alive else "stopped", "at_work": gate.requests}
        return JSONResponse(status | told, 200 if worker.is_alive else 503)

    @made.post("/predict", openapi_extra={"requestBody": REQUEST})
    async def predict(request: Request) -> Response:
        try:
            with gate.entered() as body:
                data = await body.read(request)
                kind = request.headers.get("content-type", "")
                photos = await asyncio.to_thread(bodies.photos, kind, data, limits)
                del data
                predictions = await _predicted(photos, worker)
        except RefusedError as error:
            return Refusal(error)
        except Exception as error:
            say(f"a request failed: {type(error).__name__}: {first_line(error)}")
            return JSONResponse({"error": "the classifier failed; its own output says why"}, 500)
        return JSONResponse({"predictions": [each.as_json(names_one=about.names_one) for each in predictions]})

    return made


async def _predicted(photos: list[bodies.Photo], worker: Worker) -> list[Prediction]:
    """The answer to each photo, in order."""
    readable = [photo.data for photo in photos if photo.fault is None]
    given = iter(await asyncio.wrap_future(worker.submit(readable)) if readable else [])
    return [
        Prediction(source=photo.name, fault=photo.fault)
        if photo.fault
        else dataclasses.replace(next(given), source=photo.name)
        for photo in photos
    ]


def _policy(html: str) -> str:
    """That a browser loads nothing for the page and runs nothing but what is in it.

    Source: https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    hashes: dict[str, Any] = {"style": [], "script": []}
    for name, text in INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[name].append(f"'sha256-{digest}'")
    parts = [f"{name}-src {' '.join(found)}" for name, found in hashes.items()]
    return "; ".join(["default-src 'none'", *parts, "img-src blob: data:", "connect-src 'self'", "base-uri 'none'"])
