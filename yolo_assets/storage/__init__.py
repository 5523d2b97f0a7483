"""Object stores behind one small interface: S3 and its relatives, and a plain folder or NAS.

Belongs here: bytes under keys, conditional writes, multipart, retries, errors as messages a person can act on. Does not
belong here: what the keys mean (``contracts.names``) and what is stored under them (the stage packages).
"""

from yolo_assets.storage.base import (
    AlreadyExistsError,
    CasConflictError,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStore,
    StoreUnavailableError,
    UploadedPart,
    UploadGoneError,
)
from yolo_assets.storage.open import open_store

__all__ = [
    "AlreadyExistsError",
    "CasConflictError",
    "ObjectInfo",
    "ObjectNotFoundError",
    "ObjectStore",
    "StoreUnavailableError",
    "UploadGoneError",
    "UploadedPart",
    "open_store",
]
