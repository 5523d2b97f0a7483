"""Checks an evidence pack: offline, with nothing but the folder and the public keys that the checker trusts.

Needs neither a store nor a network nor any package beyond the base installation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from yolo_assets.contracts.errors import BadInputError, SignatureError, UserError
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.evidence import checks
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.folder import Pack
from yolo_assets.evidence.manifest import PackManifest
from yolo_assets.evidence.seal import sealed_by

Verdict = Literal["ok", "differs", "not checked"]

_MOST_KEYS, _LARGEST_KEY = 100, 4096
"""Keys of a pack that are tried, and bytes of one, before anything vouches for them."""


@dataclass(frozen=True)
class Check:
    """The verdict of one look."""

    name: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Verification:
    """What checking a pack gave; ``manifest`` is None when it could not even be read."""

    checks: tuple[Check, ...]
    manifest: PackManifest | None

    @property
    def first_difference(self) -> Check | None:
        """The first check that did not end well; None when the pack is sound."""
        return next((check for check in self.checks if check.verdict == "differs"), None)


@dataclass(frozen=True)
class _Step:
    name: str
    run: Callable[[Pack], str]
    needs: tuple[str, ...] = ()


_STEPS = (
    _Step("layout", checks.check_layout),
    _Step("manifest", checks.read_manifest, ("layout",)),
    _Step("signature", checks.check_signature, ("manifest",)),
    _Step("files", checks.check_files, ("manifest",)),
    _Step("receipts", checks.check_receipts, ("manifest", "keys")),
    _Step("indexes", checks.check_indexes, ("receipts",)),
    _Step("members", checks.check_members, ("indexes",)),
    _Step("findings", checks.check_findings, ("files", "members")),
    _Step("models", checks.check_models, ("files", "keys")),
    _Step("catalog", checks.check_catalog, ("files", "receipts")),
)


def verify_pack(folder: Path, trusted: TrustedKeys | None) -> Verification:
    """Check everything that can be checked about a pack; a difference ends no other check that does not build on it.

    Args:
        folder: the pack.
        trusted: keys that the checker got by another way than the pack; None checks nothing against the keys inside.

    Raises:
        BadInputError: no such folder.
    """
    if not folder.is_dir():
        raise BadInputError(f"there is no folder {folder}; name the folder of an evidence pack")
    pack = Pack(folder, trusted or TrustedKeys({}))
    passed = {"keys"} if trusted is not None else set()
    done: list[Check] = []
    for step in _STEPS:
        missing = next((need for need in step.needs if need not in passed), None)
        if missing is not None:
            why = "no trusted key was given" if missing == "keys" else f"it builds on {missing}"
            done.append(Check(step.name, "not checked", why))
            continue
        try:
            detail = step.run(pack)
        except SignatureError as error:
            detail = _who_signed(pack, given=trusted is not None) if step.name == "signature" else str(error)
            done.append(Check(step.name, "differs", detail))
        except (UserError, ValueError) as error:
            done.append(Check(step.name, "differs", " ".join(str(error).split())))
        else:
            passed.add(step.name)
            done.append(Check(step.name, "ok", detail))
    return Verification(tuple(done), pack.manifest)


def _who_signed(pack: Pack, *, given: bool) -> str:
    """Why the signature does not count: changed, or good by a key of the pack's own that nobody has to believe."""
    advice = "get the plant's public key by another way than this pack, compare it, and give it by --key PUB"
    try:
        data, signature = pack.read(names.MANIFEST, "manifest"), pack.read(names.SIGNATURE)
        own = [path for path in sorted((pack.folder / "keys").glob("*.pub")) if path.stat().st_size <= _LARGEST_KEY]
        key = sealed_by(data, signature, TrustedKeys.load(own[:_MOST_KEYS]))
    except (UserError, ValueError):
        return "the signature fits neither a trusted key nor a key in the pack; the manifest or it was changed"
    if given:
        return f"signed by key {key}, which lies in the pack but is not among the trusted ones; {advice}"
    return f"signed by key {key}, which lies in the pack and proves nothing by that; {advice}"
