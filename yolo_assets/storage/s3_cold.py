"""Cold tiers of S3: the state of one object by HEAD, and the request that fetches it; in words by ``storage.cold``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from yolo_assets.storage.base import ObjectNotFoundError
from yolo_assets.storage.cold import RestoreState, Retrieval, check_request, check_retrieval
from yolo_assets.storage.s3_answers import status_of
from yolo_assets.storage.s3_errors import error_code
from yolo_assets.storage.s3_location import S3Location

_COLD_CLASSES = {"GLACIER", "DEEP_ARCHIVE"}
_EXPIRY = re.compile(r'expiry-date="([^"]*)"')


class S3Cold(S3Location):
    """The cold tiers of a store in S3."""

    def restore_state(self, key: str, version_id: str | None) -> RestoreState:
        """Whether an object can be read now, by one HEAD."""
        answer = self._head(key, version_id)
        if answer is None:
            what = f"{key} version {version_id}" if version_id is not None else key
            raise ObjectNotFoundError(f"there is no object {what} in {self._url}")
        return _state_of(answer)

    def request_restore(
        self, key: str, version_id: str | None, *, days: int, retrieval: Retrieval = "standard"
    ) -> RestoreState:
        """Ask for an object in a cold tier; does nothing for one that can be read or is on its way."""
        check_request(days, retrieval)
        state = self.restore_state(key, version_id)
        if state.status in ("available", "requested"):
            return state
        check_retrieval(key, state.tier, retrieval)
        wanted: dict[str, Any] = {"GlacierJobParameters": {"Tier": retrieval.capitalize()}}
        if state.tier in _COLD_CLASSES:  # within INTELLIGENT_TIERING the object itself moves, and days are refused
            wanted["Days"] = days
        version = {"VersionId": version_id} if version_id is not None else {}
        with self._explained(key):
            try:
                answer = self._client.restore_object(**self._at(key), **version, RestoreRequest=wanted)
            except ClientError as error:
                if error_code(error) == "RestoreAlreadyInProgress":
                    return RestoreState("requested", state.tier)
                if error_code(error) == "ObjectAlreadyInActiveTierError":
                    return RestoreState("available", state.tier)
                raise
        if status_of(answer) == 200:  # it was readable; only the end of that has moved
            return self.restore_state(key, version_id)
        return RestoreState("requested", state.tier)


def _state_of(answer: Any) -> RestoreState:
    """What a HEAD says about reading the object."""
    storage_class = answer.get("StorageClass")
    tier = answer.get("ArchiveStatus") or storage_class
    restore = answer.get("Restore") or ""
    if 'ongoing-request="true"' in restore:
        return RestoreState("requested", tier)
    if 'ongoing-request="false"' in restore:
        return RestoreState("restored", tier, _expiry_of(restore))
    cold = storage_class in _COLD_CLASSES or answer.get("ArchiveStatus") is not None
    return RestoreState("cold" if cold else "available", tier)


def _expiry_of(restore: str) -> datetime | None:
    found = _EXPIRY.search(restore)
    try:
        return parsedate_to_datetime(found[1]).astimezone(UTC) if found else None
    except ValueError:
        return None
