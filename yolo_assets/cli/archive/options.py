"""Options that several archive commands share, how their values are read, and opening the archive for reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from yolo_assets.cli.common import camera_id, open_archive
from yolo_assets.contracts.errors import BadInputError, UsageError

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive
    from yolo_assets.archive.options import VerifyHow
    from yolo_assets.archive.restore.plan import Thaw
    from yolo_assets.contracts.device_keys import EnrolledDevices
    from yolo_assets.contracts.settings import Settings

T = TypeVar("T")

KeyOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", help="Public key that may have signed receipts; default: those of <home>/keys.", metavar="PUB"
    ),
]
EnrolledByOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--enrolled-by", help="Public key that enrols devices; default: promotion's of <home>/keys.", metavar="PUB"
    ),
]
CameraOption = Annotated[str | None, typer.Option(help="Only this camera.", metavar="C", parser=camera_id)]

TierOption = Annotated[
    str, typer.Option(help="How an archive in a cold tier is fetched: expedited, standard or bulk.", metavar="TIER")
]
DaysOption = Annotated[
    int, typer.Option(help="How long the readable copy of an archive from a cold tier is kept.", min=1, metavar="DAYS")
]


def thaw_of(tier: str, days: int) -> Thaw:
    """How to ask for archives in a cold tier."""
    from yolo_assets.archive.restore.plan import Thaw

    if tier == "expedited" or tier == "standard" or tier == "bulk":
        return Thaw(tier, days)
    raise UsageError(f"--tier {tier} is not known; use expedited, standard or bulk")


def given(parse: Callable[[str], T], text: str | None, option: str) -> T | None:
    """An option's value, parsed; a value that is none is wrong usage."""
    if text is None:
        return None
    try:
        return parse(text)
    except BadInputError as error:
        raise UsageError(f"{option}: {error}") from None


def receipt_keys(settings: Settings, keys: list[Path] | None) -> list[Path]:
    """The keys given, else this machine's own and those of other archivers that ``<home>/keys/archivers`` holds.

    Raises:
        UsageError: there is none.
    """
    chosen = keys or settings.archiver_public_keys()
    if not chosen:
        raise UsageError(
            f"no key to check receipts with in {settings.keys}; give the archiver's public key with --key PUB"
        )
    return chosen


def open_to_read(settings: Settings, keys: list[Path] | None, *, alone: bool = False) -> Archive:
    """The archive with the keys that may have signed its receipts; ``alone``: without its copy, see ``open_archive``.

    Raises:
        UsageError: there is no key.
        UserError: there is no such archive.
    """
    from yolo_assets.transparency.held import trusted_archive

    chosen = receipt_keys(settings, keys)
    return trusted_archive(open_archive(settings, alone=alone), chosen, settings)


def devices_of(settings: Settings, keys: list[Path] | None) -> EnrolledDevices:
    """The devices that are enrolled, or why that is not known: a machine that only archives has no store.

    Args:
        settings: the locations.
        keys: that may have enrolled them; by default promotion's of the home.
    """
    from yolo_assets.contracts.device_keys import EnrolledDevices
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.custody.enrolment import enrolled_devices
    from yolo_assets.storage.base import StoreUnavailableError
    from yolo_assets.storage.open import folder_of, open_store

    chosen, folder = keys or settings.promotion_public_keys(), folder_of(settings.store_url)
    if not chosen:
        return EnrolledDevices(unchecked=f"no public key of promotion is in {settings.keys}; give it by --enrolled-by")
    if folder is not None and not folder.is_dir():
        return EnrolledDevices(unchecked=f"there is no store at {folder}")
    trusted = TrustedKeys.load(chosen)
    try:
        return enrolled_devices(open_store(settings.store_url), trusted)
    except StoreUnavailableError as error:
        return EnrolledDevices(unchecked=str(error))


def verify_how(text: str) -> VerifyHow:
    """``head`` or ``full``."""
    if text == "head" or text == "full":
        return text
    raise UsageError(f"--verify {text} is not known; use head or full")
