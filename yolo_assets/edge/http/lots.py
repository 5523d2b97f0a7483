"""``/v1/cameras/{camera_id}/batch``: which batch and part is in front of a camera; whoever runs the line says so."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request

from yolo_assets.edge.http.access import requester
from yolo_assets.edge.http.cameras import Camera, check_camera
from yolo_assets.edge.http.schemas import LotDone, LotNow, LotRequest, errors
from yolo_assets.edge.lots.book import Lot, LotBook


def routes(lots: LotBook, camera_ids: Sequence[str], admitted: list[Any]) -> APIRouter:
    """Reading and changing; ``admitted`` lets in whose role is enough for which."""
    router = APIRouter(prefix="/v1/cameras/{camera_id}/batch", tags=["cameras"], dependencies=admitted)
    unknown = errors(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)

    @router.put(
        "",
        summary="Another batch or part comes in front of the camera",
        responses={**unknown, **errors(HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT)},
    )
    def change(camera_id: Camera, wanted: LotRequest, request: Request) -> LotDone:
        """Holds until the next change, also after a restart; frames that wait have it by their time of capture.

        A part that is left out is none. The same again changes nothing, so it may be repeated until it is answered.
        """
        check_camera(camera_ids, camera_id)
        lot = Lot(batch_id=wanted.batch_id, part_id=wanted.part_id)
        done = lots.change(camera_id, lot, requester(request), wanted.at)
        return LotDone(camera_id=camera_id, lot=done.change, late_s=done.late_s)

    @router.get("", summary="What is in front of the camera", responses=unknown)
    def current(camera_id: Camera) -> LotNow:
        """As it is now, and what was announced for later."""
        check_camera(camera_ids, camera_id)
        return LotNow(camera_id=camera_id, lot=lots.current(camera_id), planned=lots.planned(camera_id))

    return router
