"""What changes the model: rollback, pin, unpin, reload. Every route is a POST and needs a role."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import version_of
from yolo_assets.edge.http.access import requester
from yolo_assets.edge.http.problems import ApiProblem
from yolo_assets.edge.http.schemas import PinDone, ReloadAccepted, ReloadRequest, RollbackDone, UnpinDone, errors
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.rollout.channel_poller import ChannelPoller
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.rollout.request import UpdateRequest
from yolo_assets.edge.rollout.staging import Stager

_REFUSED = errors(HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT)


def routes(
    model: str,
    control: ModelControl,
    stager: Stager,
    poller: ChannelPoller,
    board: ResultBoard,
    admitted: list[Any],
) -> APIRouter:
    """The routes; ``model`` is the name of the configured one, ``admitted`` lets in whose role is enough."""
    router = APIRouter(tags=["model"], dependencies=admitted)

    @router.post("/rollback", summary="Serve the previous model again, at once", responses=_REFUSED)
    @router.post("/v1/rollback", summary="Serve the previous model again, at once", responses=_REFUSED)
    def rollback(request: Request) -> RollbackDone:
        """The previous model is warm in memory. It stays until unpinned, or until a release newer than this one."""
        done = control.roll_back(requester(request))
        return RollbackDone(source=done.source, target=done.target, seconds=round(done.seconds, 6), pinned=done.pinned)

    @router.post("/v1/pin", summary="Stay on the version that serves", responses=_REFUSED)
    def pin(request: Request) -> PinDone:
        """Nothing that is released changes the model until it is unpinned. A rollback by hand is still possible."""
        return PinDone(pinned=control.pin(requester(request)))

    @router.post("/v1/unpin", summary="Follow the channel again", responses=_REFUSED)
    def unpin(request: Request) -> UnpinDone:
        """Ends a pin, also the one that a rollback set. What the channel points to now is loaded within seconds."""
        lifted = control.unpin(requester(request))
        poller.poll_now()
        return UnpinDone(unpinned=lifted.version if lifted else None)

    @router.post(
        "/v1/models/reload",
        status_code=HTTPStatus.ACCEPTED,
        summary="Load a version, or read the channel now",
        responses=errors(HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY),
    )
    def reload(request: Request, reload_request: Annotated[ReloadRequest | None, Body()] = None) -> ReloadAccepted:
        """A version requested by hand passes every check that a release passes, and is pinned once it serves."""
        version = reload_request.version if reload_request else None
        if version is None:
            poller.poll_now()
            return ReloadAccepted(wanted=None)
        try:
            version = version_of(version, model)
        except BadInputError as error:
            raise ApiProblem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        update = UpdateRequest.by_operator(version, requester(request))
        return ReloadAccepted(wanted=f"{model}/{version}", accepted=stager.request(update))

    @router.post(
        "/v1/gaps/reset", summary="Reset the longest times without a result", responses=errors(HTTPStatus.FORBIDDEN)
    )
    def reset_gaps() -> dict[str, bool]:
        """The longest time without a result is counted from now on."""
        board.reset()
        return {"reset": True}

    return router
