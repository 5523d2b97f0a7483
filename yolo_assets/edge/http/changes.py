"""What changes the model: rollback, pin, unpin, reload. Every route is a POST and needs the token."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from yolo_assets.edge.http.auth import who
from yolo_assets.edge.http.parts import ApiParts
from yolo_assets.edge.http.schemas import PinDone, ReloadAccepted, ReloadRequest, RollbackDone, UnpinDone, errors
from yolo_assets.edge.rollout.request import UpdateRequest

_REFUSED = errors(HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT)


def routes(parts: ApiParts, writer: list[Any]) -> APIRouter:
    """The routes that need the token."""
    router = APIRouter(tags=["model"], dependencies=writer)

    @router.post("/rollback", summary="Serve the previous model again, at once", responses=_REFUSED)
    @router.post("/v1/rollback", summary="Serve the previous model again, at once", responses=_REFUSED)
    def rollback(request: Request) -> RollbackDone:
        """The previous model is warm in memory. It stays until unpinned, or until a release newer than this one."""
        done = parts.control.roll_back(who(request))
        return RollbackDone(source=done.source, target=done.target, seconds=round(done.seconds, 6), pinned=done.pinned)

    @router.post("/v1/pin", summary="Stay on the version that serves", responses=_REFUSED)
    def pin(request: Request) -> PinDone:
        """Nothing that is released changes the model until it is unpinned. A rollback by hand is still possible."""
        return PinDone(pinned=parts.control.pin(who(request)))

    @router.post("/v1/unpin", summary="Follow the channel again", responses=_REFUSED)
    def unpin(request: Request) -> UnpinDone:
        """Ends a pin, also the one that a rollback set. What the channel names now is loaded within seconds."""
        lifted = parts.control.unpin(who(request))
        parts.look_now()
        return UnpinDone(unpinned=lifted.version if lifted else None)

    @router.post(
        "/v1/models/reload",
        status_code=HTTPStatus.ACCEPTED,
        summary="Load a version, or look at the channel now",
        responses=errors(HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY),
    )
    def reload(request: Request, wish: Annotated[ReloadRequest | None, Body()] = None) -> ReloadAccepted:
        """A version asked for by hand passes every check that a release passes, and is pinned once it serves."""
        version = wish.version if wish else None
        if version is None:
            parts.look_now()
            return ReloadAccepted(wanted=None)
        update = UpdateRequest.by_operator(version, who(request))
        return ReloadAccepted(wanted=version, accepted=parts.want(update))

    @router.post("/v1/gaps/reset", summary="Measure the longest silences anew", responses=errors(HTTPStatus.FORBIDDEN))
    def reset_gaps() -> dict[str, bool]:
        """The longest time without a result is counted from now on."""
        parts.board.reset()
        return {"reset": True}

    return router
