"""From the tiers of an archive to lifecycle rules that are valid for one kind of store, with what was changed and why.

The tiers are those of requirement A10: standard for a week, infrequent for a quarter, cold after that, expiry after the
retention. Only archives change tier; indexes, receipts and audits stay where they can be read at once. Archive, index
and receipt of an hour expire together, so that no receipt promises an archive that is gone.

AWS' rules are from its user guide (lifecycle transition general considerations); no test server enforces them, hence
``problems``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from yolo_assets.storage.admin.profiles import StoreProfile

TierName = Literal["standard", "infrequent", "cold"]
OWN = "yolo-assets-"
"""Our rules' ids begin so; rules of others are left alone."""
MARGIN_DAYS = 7
"""Expiry comes so long after the retention: lifecycles count from midnight, retention from the upload."""
ARCHIVED = ("archives", "index", "receipts")
"""Folders of an archive root whose objects expire together."""
_LONGEST = {"GLACIER_IR": 90, "GLACIER": 90, "DEEP_ARCHIVE": 180, "STANDARD_IA": 30, "ONEZONE_IA": 30}
_INFREQUENT = ("STANDARD_IA", "ONEZONE_IA")
_COLDNESS = ("STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")


@dataclass(frozen=True)
class Tiers:
    """When an archive changes tier, in days after its upload."""

    infrequent_from: int = 8
    cold_from: int = 91
    abort_after: int = 7


@dataclass(frozen=True)
class Lifecycle:
    """Rules for one store.

    Attributes:
        rules: as boto3 wants them.
        changes: what differs from the tiers, or is good to know; a sentence each.
    """

    rules: tuple[dict[str, Any], ...]
    changes: tuple[str, ...]


def compile_lifecycle(
    profile: StoreProfile,
    prefix: str,
    retention_days: int,
    *,
    tiers: Tiers | None = None,
    classes: Mapping[str, str] | None = None,
) -> Lifecycle:
    """The tiers as rules that this kind of store takes.

    Args:
        profile: of the store.
        prefix: of the archive root, without slashes around it; may be empty.
        retention_days: 0: nothing ever expires.
        tiers: default: those of A10.
        classes: storage class of ``infrequent`` and ``cold`` as the operator names them.
    """
    tiers, changes = tiers or Tiers(), []
    if not profile.lifecycle:
        way = "by its own API or console" if profile.name == "oss" else "by the storage below it"
        return Lifecycle((), (f"a {profile.name} store takes no lifecycle rules through the S3 API; set them {way}",))
    root = f"{prefix}/" if prefix else ""
    expires = retention_days + MARGIN_DAYS if retention_days else None
    transitions = list(_transitions(profile, tiers, dict(classes or {}), expires, changes))
    rules: list[dict[str, Any]] = []
    if transitions:
        where: dict[str, Any] = {"Prefix": f"{root}archives/"}
        if profile.size_filter and profile.least_size:
            where = {"And": {**where, "ObjectSizeGreaterThan": profile.least_size}}
            changes.append(f"archives up to {profile.least_size >> 10} KiB stay in standard: moving them costs more")
        rules.append(_rule("tiers", where, Transitions=transitions))
    if expires is None:
        changes.append("nothing expires: no retention was given (YOLO_ASSETS_RETENTION_DAYS, --retention-days)")
    else:
        changes.append(
            f"archives, indexes and receipts expire on day {expires}, {MARGIN_DAYS} days after their retention; what "
            "is under legal hold keeps its bytes, hidden behind a delete marker that archive verify reports"
        )
        rules += [
            _rule(
                f"expire-{kind}",
                {"Prefix": f"{root}{kind}/"},
                Expiration={"Days": expires},
                NoncurrentVersionExpiration={"NoncurrentDays": 1},
            )
            for kind in ARCHIVED
        ]
        rules.append(_rule("delete-markers", {"Prefix": root}, Expiration={"ExpiredObjectDeleteMarker": True}))
    rules.append(_abandoned_uploads(root, tiers))
    return Lifecycle(tuple(rules), tuple(changes))


def store_root_lifecycle(profile: StoreProfile, prefix: str) -> Lifecycle:
    """The rules of a store root: nothing in it expires, only uploads that nobody finished are removed."""
    if not profile.lifecycle:
        return Lifecycle((), ())
    return Lifecycle((_abandoned_uploads(f"{prefix}/" if prefix else "", Tiers()),), ())


def _abandoned_uploads(root: str, tiers: Tiers) -> dict[str, Any]:
    abort = {"DaysAfterInitiation": tiers.abort_after}
    return _rule("abandoned-uploads", {"Prefix": root}, AbortIncompleteMultipartUpload=abort)


@dataclass(frozen=True)
class Deletion:
    """What a lifecycle rule deletes of a root.

    Attributes:
        rule: its id.
        ours: one of ``storage init``.
        days: after so many days; 0: from a date on.
        versions: only versions that were overwritten or deleted before, not what is current.
        whole: everything below the root; else only what begins as its prefix says.
        prefix: of the rule.
    """

    rule: str
    ours: bool
    days: int
    versions: bool
    whole: bool
    prefix: str

    def touches(self, root: str, kinds: Sequence[str]) -> bool:
        """Whether it is about one of these folders below the root."""
        folders = [f"{root}{kind}/" for kind in kinds]
        return any(self.prefix.startswith(folder) or folder.startswith(self.prefix) for folder in folders)

    @property
    def when(self) -> str:
        """For a sentence."""
        return f"on day {self.days}" if self.days else "from a date on"


def deletions(rules: Sequence[Mapping[str, Any]], root: str) -> Iterator[Deletion]:
    """Which rules in force delete what lies below a root.

    Args:
        rules: as a store gives them, of anybody.
        root: the root's prefix with the slash at its end; empty: the whole bucket.
    """
    for rule in rules:
        where = rule.get("Filter", {})
        inner, prefix = {**where, **where.get("And", {})}, filter_prefix(rule)
        # Our objects have no tags. A rule without prefix is about the whole bucket.
        if rule.get("Status") != "Enabled" or inner.get("Tag") or inner.get("Tags"):
            continue
        if not (prefix.startswith(root) or root.startswith(prefix)):
            continue
        name = rule.get("ID", "without a name")
        found = {"rule": name, "ours": name.startswith(OWN), "whole": root.startswith(prefix), "prefix": prefix}
        expiration = rule.get("Expiration", {})
        if "Days" in expiration or "Date" in expiration:
            yield Deletion(**found, days=int(expiration.get("Days", 0)), versions=False)
        noncurrent = rule.get("NoncurrentVersionExpiration", {})
        if noncurrent:
            yield Deletion(**found, days=int(noncurrent.get("NoncurrentDays", 0)), versions=True)


def filter_prefix(rule: Mapping[str, Any]) -> str:
    """What a rule's objects begin with; empty: it is about the whole bucket."""
    where = rule.get("Filter", {})
    return {**where, **where.get("And", {})}.get("Prefix", rule.get("Prefix", "")) or ""


def _transitions(
    profile: StoreProfile, tiers: Tiers, classes: dict[str, str], expires: int | None, changes: list[str]
) -> Iterator[dict[str, Any]]:
    infrequent = classes.get("infrequent", profile.infrequent)
    cold = classes.get("cold", profile.cold)
    for name, found in (("infrequent", infrequent), ("cold", cold)):
        if found is None:
            changes.append(
                f"no tier {name!r}: a {profile.name} store has the classes that its operator set up; "
                f"name one by --class {name}=NAME"
            )
    earliest, before = 1, ""  # day 0 is the day of the upload
    for name, storage_class, day in (
        ("infrequent", infrequent, tiers.infrequent_from),
        ("cold", cold, tiers.cold_from),
    ):
        if storage_class is None:
            continue
        if before and (storage_class == before or (profile.name == "aws" and not _colder(before, storage_class))):
            changes.append(f"no tier {name!r}: from {before} a {profile.name} store moves nothing to {storage_class}")
            continue
        least = earliest
        if storage_class in _INFREQUENT:
            least = max(least, profile.infrequent_from)
        start = max(day, least)
        if start != day:
            changes.append(
                f"{name} ({storage_class}) begins on day {start} instead of {day}: a {profile.name} store does not "
                "move objects there earlier"
            )
        stays = _LONGEST.get(storage_class, 0) if profile.name == "aws" else 0
        if expires is not None and start + max(stays, 1) > expires:
            why = f"it is billed for {stays} days there" if stays else "it would expire at once"
            changes.append(f"no tier {name!r}: archives expire on day {expires}, and {why}")
            continue
        if stays:
            changes.append(f"{name} is {storage_class}, billed for at least {stays} days" + _access(storage_class))
        yield {"Days": start, "StorageClass": storage_class}
        earliest = start + max(1, profile.infrequent_for if storage_class in _INFREQUENT else 1)
        before = storage_class


def _access(storage_class: str) -> str:
    if storage_class in ("GLACIER", "DEEP_ARCHIVE"):
        return "; a frame out of it takes hours (yolo-assets restore requests it)"
    return ", read at once"


def problems(rules: Sequence[Mapping[str, Any]], profile: StoreProfile) -> Iterator[str]:
    """What the store would refuse, or do otherwise than is meant; nothing when the rules are valid."""
    names = [rule["ID"] for rule in rules]
    if len(set(names)) != len(names):
        yield "two rules have one id"
    for rule in rules:
        name = rule["ID"]
        if len(name) > 255:
            yield f"{name}: an id has at most 255 characters"
        where = rule.get("Filter", {})
        if set(where) not in ({"Prefix"}, {"And"}):
            yield f"{name}: a filter is a prefix, or several conditions under And"
        if "AbortIncompleteMultipartUpload" in rule and "And" in where:
            yield f"{name}: uploads cannot be filtered by size"
        expiration = rule.get("Expiration", {})
        if "Days" in expiration and "ExpiredObjectDeleteMarker" in expiration:
            yield f"{name}: days and delete markers need a rule each"
        days = [entry["Days"] for entry in rule.get("Transitions", ())]
        yield from (f"{name}: day {day} is before the upload" for day in [*days, expiration.get("Days", 1)] if day < 1)
        if sorted(set(days)) != days:
            yield f"{name}: transitions are not in the order of their days"
        if days and expiration.get("Days", days[-1] + 1) <= days[-1]:
            yield f"{name}: expiry comes before the last transition"
        if profile.name == "aws":
            yield from _aws_problems(name, rule.get("Transitions", ()))


def _aws_problems(name: str, transitions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    before: Mapping[str, Any] | None = None
    for entry in transitions:
        if entry["StorageClass"] in _INFREQUENT and entry["Days"] < 30:
            yield f"{name}: {entry['StorageClass']} begins on day 30 at the earliest"
        if before is not None and before["StorageClass"] in _INFREQUENT and entry["Days"] < before["Days"] + 30:
            yield f"{name}: an object stays in {before['StorageClass']} for 30 days"
        if before is not None and not _colder(before["StorageClass"], entry["StorageClass"]):
            yield f"{name}: nothing moves from {before['StorageClass']} to {entry['StorageClass']}"
        before = entry


def _colder(before: str, after: str) -> bool:
    """Whether AWS moves objects from one class on to the other; classes it does not name pass."""
    if before not in _COLDNESS or after not in _COLDNESS:
        return before != after
    return _COLDNESS.index(before) < _COLDNESS.index(after)


def _rule(name: str, where: dict[str, Any], **actions: Any) -> dict[str, Any]:
    return {"ID": f"{OWN}{name}", "Status": "Enabled", "Filter": where, **actions}
