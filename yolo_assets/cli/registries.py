"""The registry as commands open it: with the installation's promotion key, and further public keys where given."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_assets.cli.common import note, valid
from yolo_assets.contracts.names import check_id, check_version, parse_model_version

if TYPE_CHECKING:
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.contracts.signing import TrustedKeys
    from yolo_assets.models.promotion import Promoter
    from yolo_assets.models.registry import Registry


def check_spelling(text: str) -> None:
    """Check that what a person wrote can name a version, before anything is opened.

    Raises:
        BadInputError: it can name none.
    """
    if "/" in text:
        parse_model_version(text)
    else:
        check_version(text)


ModelArgument = Annotated[
    str,
    typer.Argument(metavar="NAME/VERSION", help="A version, with its name or without.", parser=valid(check_spelling)),
]
model_name = valid(partial(check_id, what="model name"))
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A model, like line.", parser=model_name)]
ChannelOption = Annotated[
    str,
    typer.Option(
        "--channel", metavar="CHANNEL", help="Release channel.", parser=valid(partial(check_id, what="channel"))
    ),
]
TrustedOption = Annotated[
    list[Path] | None,
    typer.Option("--trusted-key", help="Further public key to trust, for releases signed before a key was replaced."),
]


def open_registry(configured: Settings, further: list[Path] | None) -> Registry:
    """The registry of the settings, with its keys.

    Raises:
        SignatureError: there is no public key to verify with.
    """
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage.open import open_store

    return Registry(open_store(configured.store_url), promotion_keys(configured, further))


def readable_registry(configured: Settings, further: list[Path] | None) -> Registry:
    """As ``open_registry``, for commands that only read: without a key too, with a note on what is not shown then."""
    from yolo_assets.contracts.errors import SignatureError
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage.open import open_store

    opened = open_store(configured.store_url)
    try:
        return Registry(opened, promotion_keys(configured, further))
    except SignatureError as error:
        if further:
            raise
        note(f"signatures are not checked and channels not shown: {error}")
        return Registry(opened)


def open_promoter(configured: Settings, further: list[Path] | None) -> Promoter:
    """The registry with the promotion key, and what plant.yaml says of people and of how long a pointer holds.

    Raises:
        SignatureError: a key is missing.
        BadInputError: plant.yaml is wrong.
    """
    from yolo_assets.contracts.plant import load_plant
    from yolo_assets.contracts.signing import Signer
    from yolo_assets.models.promotion import Promoter

    signer, plant = Signer.load(configured.promotion_key), load_plant(configured)
    return Promoter.of_plant(open_registry(configured, further), signer, plant.people, plant.rollout)


def find_version(registry: Registry, configured: Settings, text: str) -> tuple[str, str]:
    """Name and version of what a person wrote: ``<name>/<version>``, or a version alone.

    A version alone is one of the configured model, else of the only model that has it.

    Raises:
        BadInputError: no version, or several models have it.
        ObjectNotFoundError: no model has it.
    """
    from yolo_assets.contracts.errors import BadInputError
    from yolo_assets.contracts.model import MANIFEST
    from yolo_assets.contracts.names import model_key, parse_model_version
    from yolo_assets.storage.base import ObjectNotFoundError

    if "/" in text:
        return parse_model_version(text)
    check_spelling(text)
    if registry.store.head(model_key(configured.model_name, text, MANIFEST)) is not None:
        return configured.model_name, text
    names = [entry.name for entry in registry.list_bundles() if entry.version == text]
    if not names:
        raise ObjectNotFoundError(
            f"no model has a version {text} in {registry.store.url}; list all with: yolo-assets models list"
        )
    if len(names) > 1:
        raise BadInputError(f"{', '.join(names)} each have a version {text}; write it like {names[0]}/{text}")
    return names[0], text


def promotion_keys(configured: Settings, further: list[Path] | None) -> TrustedKeys:
    """The promotion keys, never an archiver's: a key that may sign receipts may not release models.

    Raises:
        SignatureError: there is no public key to verify with.
    """
    from yolo_assets.contracts.errors import SignatureError
    from yolo_assets.contracts.signing import TrustedKeys

    paths = [*configured.promotion_public_keys(), *(further or [])]
    if not paths:
        raise SignatureError(
            f"no public key at {configured.promotion_key}.pub; give one with --trusted-key, or run: yolo-assets models "
            "keygen"
        )
    return TrustedKeys.load(paths)
