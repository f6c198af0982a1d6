"""What the server answers over HTTP beside the page: models, examples, health and metrics."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from microturn.inference.serve.about import EXAMPLES, about_checkpoint
from microturn.inference.serve.access import NEEDS_TOKEN, Access, Refusal
from microturn.inference.serve.codec import frame_shapes
from microturn.inference.serve.engine import LiveEngine

_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503

Answer = Callable[[Request], Awaitable[Response]]


def routes_of(engine: LiveEngine, *, access: Access, checkpoint: str) -> list[Route]:
    """Build the routes; all but `/healthz`, which tells nothing, ask for the token if there is one.

    Refusals below `/v1` have the form that clients of that interface read.
    """
    about = about_checkpoint(Path(checkpoint))
    frames = {lane: shape[:2] for lane, shape in frame_shapes(engine.layout).items()}
    model = {
        "id": model_name(checkpoint),
        "object": "model",
        "created": int(time.time()),
        "owned_by": "microturn",
    }

    async def healthz(_: Request) -> Response:
        if engine.thread.is_alive():
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "the engine has ended"}, status_code=_UNAVAILABLE)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", **engine.health()})

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(engine.prometheus(), media_type=_PROMETHEUS)

    async def metrics_json(_: Request) -> Response:
        return JSONResponse(engine.metrics())

    async def about_json(_: Request) -> Response:
        return JSONResponse({**about.to_json(), "frames": frames})

    async def example(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in {example.file for example in about.examples}:
            return PlainTextResponse(f"no example {name[:80]!r}", status_code=_NOT_FOUND)
        return FileResponse(Path(checkpoint) / EXAMPLES / name)

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    async def one_model(request: Request) -> Response:
        asked = request.path_params["name"]
        if asked == model["id"]:
            return JSONResponse(model)
        sentence = f"there is no model {asked[:80]!r} here; {model['id']!r} is the one"
        return _api_error(sentence, status=_NOT_FOUND, code="model_not_found")

    def guarded(answer: Answer, refuse: Callable[[Refusal], Response]) -> Answer:
        async def guarded_answer(request: Request) -> Response:
            refusal = access.refusal(request)
            return refuse(refusal) if refusal else await answer(request)

        return guarded_answer

    return [
        Route("/healthz", healthz),
        Route("/health", guarded(health, _refusal)),
        Route("/metrics", guarded(metrics, _refusal)),
        Route("/metrics.json", guarded(metrics_json, _refusal)),
        Route("/about.json", guarded(about_json, _refusal)),
        Route(f"/{EXAMPLES}/{{name}}", guarded(example, _refusal)),
        Route("/v1/models", guarded(models, _api_refusal)),
        Route("/v1/models/{name:path}", guarded(one_model, _api_refusal)),
    ]


def model_name(checkpoint: str) -> str:
    """Return the name of a model: of its folder, or of the run that has it in `checkpoint`."""
    folder = Path(checkpoint).resolve()
    return folder.parent.name if folder.name == "checkpoint" else folder.name


def too_many_requests(path: str, refusal: Refusal) -> Response:
    """Answer whoever asks too often, and close the connection."""
    if path.startswith("/v1/"):
        response = _api_error(refusal.sentence, status=refusal.status, code="rate_limit_exceeded")
    else:
        response = _refusal(refusal)
    response.headers.update({"Connection": "close", "Retry-After": "1"})
    return response


def _refusal(refusal: Refusal) -> Response:
    return PlainTextResponse(
        refusal.sentence, status_code=refusal.status, headers=_challenge(refusal)
    )


def _api_refusal(refusal: Refusal) -> Response:
    code = "invalid_api_key" if refusal.status == NEEDS_TOKEN else "forbidden"
    response = _api_error(refusal.sentence, status=refusal.status, code=code)
    response.headers.update(_challenge(refusal))
    return response


def _challenge(refusal: Refusal) -> dict[str, str]:
    return {"WWW-Authenticate": "Bearer"} if refusal.status == NEEDS_TOKEN else {}


def _api_error(sentence: str, *, status: int, code: str) -> Response:
    error: dict[str, Any] = {"message": sentence, "type": "invalid_request_error"}
    return JSONResponse({"error": {**error, "param": None, "code": code}}, status_code=status)
