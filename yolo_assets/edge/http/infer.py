"""``POST /v1/infer``: a picture is answered with its detection record. Reads only: nothing of it is kept."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.http.problems import ApiProblem
from yolo_assets.edge.http.schemas import errors
from yolo_assets.edge.image_service import BusyError, ImageService, ModelFailedError
from yolo_assets.edge.serving.slots import NoModelError
from yolo_assets.vision.picture_head import NoImageError
from yolo_assets.vision.pictures import TooManyPixelsError

PATH = "/v1/infer"
_RECEIVE_SECONDS = 10.0
_SOON, _LATER = {"Retry-After": "1"}, {"Retry-After": "5"}
_BINARY = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff")
_FAILURES = (
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


def routes(service: ImageService, admitted: list[Any]) -> APIRouter:
    """The route; ``admitted`` lets in whose role is enough."""
    router = APIRouter(tags=["model"], dependencies=admitted, responses=errors(*_FAILURES))

    @router.post(
        PATH,
        summary="The detection record of a picture",
        responses={200: {"model": DetectionRecord}},
        openapi_extra={
            "requestBody": {"required": True, "content": dict.fromkeys(_TYPES, _BINARY)},
        },
    )
    async def infer(request: Request) -> Response:
        """The body is the JPEG, PNG, WebP, BMP or TIFF itself.

        Width, height and boxes are those of the upright picture: an EXIF orientation is applied, as a viewer does.

        Cameras come first: when they leave no time, or other pictures are being processed, the answer is 429 with
        Retry-After.
        """
        if not service.enter():
            raise _counted(service, "busy", HTTPStatus.TOO_MANY_REQUESTS, "other pictures are being processed", _SOON)
        try:
            data = await _body(request, service)
            loop = asyncio.get_running_loop()
            record = await loop.run_in_executor(service.pool, service.infer, data)
        except NoImageError as error:
            raise _counted(service, "bad_image", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error)) from None
        except TooManyPixelsError as error:
            raise _counted(service, "bad_image", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from None
        except BadInputError as error:
            raise _counted(service, "bad_image", HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        except BusyError as error:
            raise _counted(service, "busy", HTTPStatus.TOO_MANY_REQUESTS, str(error), _SOON) from None
        except NoModelError as error:
            raise _counted(service, "no_model", HTTPStatus.SERVICE_UNAVAILABLE, str(error), _LATER) from None
        except ModelFailedError as error:
            raise _counted(service, "failed", HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from None
        finally:
            service.leave()
        service.requests.labels("answered").inc()
        return Response(record.to_json(), media_type="application/json")

    return router


async def _body(request: Request, service: ImageService) -> bytes:
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise NoImageError("send the picture itself as the body, as curl does with --data-binary @frame.jpg")
    try:
        async with asyncio.timeout(_RECEIVE_SECONDS):  # a slow sender holds a place
            return await request.body()
    except TimeoutError:
        detail = f"the picture did not arrive within {_RECEIVE_SECONDS:.0f} seconds"
        raise _counted(service, "bad_image", HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise _counted(service, "bad_image", HTTPStatus.REQUEST_TIMEOUT, "the sender closed the connection") from None


def _counted(
    service: ImageService, outcome: str, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
) -> ApiProblem:
    service.requests.labels(outcome).inc()
    return ApiProblem(status, detail, headers)
