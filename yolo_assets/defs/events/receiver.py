"""The HTTP receiver: ``POST /events`` with a bearer token, and ``/metrics`` and ``/healthz`` beside it.

Takes one CloudEvent in the JSON format, or a batch of at most a hundred. Errors are problem documents of one sentence.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from yolo_assets import __version__
from yolo_assets.contracts.announcements import MOST_BYTES
from yolo_assets.contracts.brokers import HttpEndpoint
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http import problems
from yolo_assets.edge.http.access import RequestGate, RoleGuard, known_hosts
from yolo_assets.edge.http.people import PeopleBook, Role
from yolo_assets.edge.http.problems import ApiProblem
from yolo_assets.edge.http.server import ApiServer
from yolo_assets.events.intake import Intake
from yolo_assets.events.metrics import EventMetrics
from yolo_assets.runtime.credentials import read_secret
from yolo_assets.runtime.metrics_page import MetricsPage

NAME = "http"
"""The receiver's name in the metrics, where brokers have theirs."""
_NEEDS: dict[str, Role | None] = {"POST /events": "operate", "GET /metrics": "see"}
_ONE, _MANY = "application/cloudevents+json", "application/cloudevents-batch+json"
_MOST_EVENTS = 100
_MOST_BODY = 256 << 10


class HttpReceiver:
    """The receiver, bound at once: a port in use is reported before anything else starts.

    Args:
        settings: the section ``events.receiver``.
        intake: takes what comes.
        metrics: shown at ``/metrics``.

    Raises:
        BadInputError: the address, the token or the certificate cannot be used.
    """

    def __init__(self, settings: HttpEndpoint, intake: Intake, metrics: EventMetrics) -> None:
        token = read_secret("events.receiver: token", settings.token_file, None)
        assert token is not None, "its file is not optional"
        if len(token) < 16:
            raise BadInputError(
                "events.receiver: its token has fewer than 16 characters; make one: openssl rand -hex 24"
            )
        listen = Listen(
            host=settings.host,
            port=settings.port,
            tls_cert=settings.tls_cert,
            tls_key=settings.tls_key,
            hosts=settings.hosts,
            max_body_bytes=_MOST_BODY,
        )
        self._app = _application(listen, RoleGuard(PeopleBook(None, token), _NEEDS), intake, metrics)
        self._server = ApiServer(listen)
        self.url = f"{self._server.url}events"

    def start(self) -> None:
        """Serve; returns once requests are answered."""
        self._server.start(self._app)

    def stop(self) -> None:
        """Close the port."""
        self._server.stop()


def _application(listen: Listen, guard: RoleGuard, intake: Intake, metrics: EventMetrics) -> FastAPI:
    app = FastAPI(title="yolo_assets events", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    problems.install(app)
    app.add_middleware(RequestGate, hosts=known_hosts(listen), most=_MOST_BODY, option="events.receiver.hosts")
    page = MetricsPage(metrics)

    @app.post("/events", dependencies=[Depends(guard.admit)])
    async def events(request: Request) -> JSONResponse:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        messages = _messages(kind, await request.body())
        outcomes: list[str] = []
        for message in messages:
            try:
                outcomes.append(intake.take(NAME, message))
            except BadInputError as error:
                raise ApiProblem(HTTPStatus.BAD_REQUEST, str(error)) from None
        if "dropped" in outcomes:
            raise ApiProblem(
                HTTPStatus.TOO_MANY_REQUESTS, "too much is announced at once; polling finds it", {"Retry-After": "30"}
            )
        return JSONResponse({"taken": outcomes.count("taken")}, HTTPStatus.ACCEPTED)

    @app.get("/metrics", dependencies=[Depends(guard.admit)])
    async def show() -> Response:
        return Response(page.render(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    async def health() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    return app


def _messages(kind: str, body: bytes) -> list[bytes]:
    """The CloudEvents of a request.

    Raises:
        ApiProblem: of another kind, or no batch.
    """
    if kind == _ONE:
        return [body]
    if kind != _MANY:
        raise ApiProblem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send a CloudEvent as {_ONE}, several as {_MANY}")
    try:
        batch: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ApiProblem(HTTPStatus.BAD_REQUEST, "the batch is not JSON") from None
    if not isinstance(batch, list) or len(batch) > _MOST_EVENTS:
        raise ApiProblem(HTTPStatus.BAD_REQUEST, f"a batch is a list of at most {_MOST_EVENTS} events")
    return [orjson.dumps(event)[: MOST_BYTES + 1] for event in batch]
