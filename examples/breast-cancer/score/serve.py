"""``python -m score.serve``: the same predictions over HTTP, on port 8000 or PORT.

``POST /score`` takes CSV and gives CSV; ``GET /metrics`` is for Prometheus; ``GET /healthz`` says that it is up.
"""

from __future__ import annotations

import io
import os

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from score.model import InputError, Scorer, read_csv, write_csv


def create_app(scorer: Scorer) -> Starlette:
    """The application around one model."""
    registry = CollectorRegistry()
    rows = Counter("score_rows", "Rows scored", registry=registry)
    refused = Counter("score_refused", "Requests with input the model doesn't take", registry=registry)
    seconds = Histogram("score_seconds", "Time to score one request", registry=registry)

    async def score(request: Request) -> Response:
        body = (await request.body()).decode("utf-8", "replace")
        try:
            with seconds.time():
                predictions = scorer.predict(read_csv(io.StringIO(body)))
        except InputError as error:
            refused.inc()
            return PlainTextResponse(f"{error}\n", status_code=422)
        rows.inc(len(predictions))
        answer = io.StringIO()
        write_csv(predictions, answer)
        return Response(answer.getvalue(), media_type="text/csv")

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[Route("/score", score, methods=["POST"]), Route("/metrics", metrics), Route("/healthz", healthz)]
    )


if __name__ == "__main__":
    uvicorn.run(create_app(Scorer.from_environment()), host="0.0.0.0", port=int(os.environ.get("PORT", "8000")))
