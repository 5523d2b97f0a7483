"""Who did what to a model, a camera or an hour: what the trail, the channels and the devices say, in one list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from yolo_assets.contracts.device_audit import AuditLine
from yolo_assets.contracts.device_keys import DeviceKey
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import DEVICE_AUDITS
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.contracts.trail import TrailEntry, TrailHead, TrailTarget
from yolo_assets.contracts.trusted_key import TrustedKey
from yolo_assets.custody.enrolment import enrolled_devices
from yolo_assets.edge.audit.verify import DeviceCopies
from yolo_assets.models.registry import Registry
from yolo_assets.trail.trail import BEGUN, AuditTrail, ReadEntry

Source = Literal["centre", "channel", "device"]


@dataclass(frozen=True)
class AuditQuestion:
    """What is asked; what is None or empty is not.

    Attributes:
        model: ``<name>/<version>``, or a name for all its versions.
        camera_id: acts on this camera, or on every camera.
        hour: acts on pictures of this hour, and what changed on devices within it.
        by: a part of a name, in any case.
        since: only what was done from then on.
    """

    model: str | None = None
    camera_id: str | None = None
    hour: Hour | None = None
    by: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Deed:
    """Something that somebody did.

    Attributes:
        at: when it began.
        who: the person, or the part of the system.
        role: in which capacity, or as which user of which machine.
        what: the command, or the kind of change.
        target: to what, in words.
        result: how it ended.
        meaning: of a signature.
        reason: why.
        source: who says so.
        place: number of the entry, the channel, or the device with its line.
        proof: whose signature holds it, in words.
    """

    at: datetime
    who: str
    role: str
    what: str
    target: str
    result: str
    meaning: str
    reason: str
    source: Source
    place: str
    proof: str


@dataclass
class AuditAnswer:
    """What was found.

    Attributes:
        deeds: oldest first.
        findings: what was changed, cut off or put back, one sentence each; empty: nothing was.
        notes: what is worth knowing and is not wrong.
    """

    deeds: list[Deed] = field(default_factory=list[Deed])
    findings: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


def who_did_what(
    question: AuditQuestion,
    trail: AuditTrail,
    registry: Registry,
    ends: Iterable[tuple[str, TrailHead]] = (),
) -> AuditAnswer:
    """Ask all who keep a history, and verify what they say.

    Args:
        question: what is asked.
        trail: of the centre.
        ends: of the trail, as checkpoints of the archive hold them, each with what to call it.
        registry: with the keys of promotion, which release and enrol devices; without one, channels are not asked.
    """
    answer = AuditAnswer()
    answer.deeds += _of_the_centre(question, trail, answer)
    answer.findings += [f"audit trail: {finding}" for finding in trail.cut_off(ends)]
    if question.camera_id is None and question.hour is None:  # a release is of no camera and no hour
        answer.deeds += _of_channels(question, registry, answer)
    answer.deeds += _of_devices(question, registry, answer)
    wanted = [deed for deed in answer.deeds if _is_wanted(deed, question)]
    answer.deeds = sorted(wanted, key=lambda deed: deed.at)
    return answer


def _is_wanted(deed: Deed, question: AuditQuestion) -> bool:
    if question.since is not None and deed.at < question.since:
        return False
    return question.by is None or question.by.casefold() in f"{deed.who}\n{deed.role}".casefold()


def _of_the_centre(question: AuditQuestion, trail: AuditTrail, answer: AuditAnswer) -> Iterator[Deed]:
    reading = trail.read(question.since)
    answer.findings += [f"audit trail: {finding}" for finding in reading.findings]
    if reading.unsigned:
        answer.notes.append(
            f"{reading.unsigned} entries of the audit trail are not signed: the machines that wrote them have no key; "
            "the chain of hashes holds them"
        )
    if reading.strangers:
        answer.notes.append(
            f"entries of the audit trail are signed by keys that are not trusted here: "
            f"{', '.join(sorted(reading.strangers))}; name them with --key"
        )
    ends = {one.entry.closes: one.entry for one in reading.entries if one.entry.closes is not None}
    for one in reading.entries:
        if one.entry.closes is None and _touches(one.entry.target, question):
            yield _deed_of(one, ends.get(one.entry.number))


def _deed_of(one: ReadEntry, end: TrailEntry | None) -> Deed:
    entry = one.entry
    result = entry.result
    if result == BEGUN:
        result = end.result if end is not None else "begun; no end was noted"
    place = f"user {entry.os_user} on {entry.host}"
    return Deed(
        at=entry.at,
        who=entry.who,
        role=f"{entry.role}, {place}" if entry.role else place,
        what=entry.what,
        target=target_in_words(entry.target),
        result=result,
        meaning=entry.meaning,
        reason=entry.reason,
        source="centre",
        place=f"entry {entry.number}",
        proof=f"signed by key {one.signed_by}" if one.signed_by else "chained, not signed by a trusted key",
    )


def _touches(target: TrailTarget, question: AuditQuestion) -> bool:
    if question.model is not None and not _is_model(target.model, question.model):
        return False
    # Without a camera, pictures of every camera were touched.
    every_camera = target.camera_id is None and target.start is not None
    if question.camera_id is not None and target.camera_id != question.camera_id and not every_camera:
        return False
    if question.hour is None:
        return True
    if target.start is None or target.end is None:
        return False
    return target.start < question.hour.end and question.hour.start < target.end


def _is_model(named: str | None, asked: str) -> bool:
    """Whether an act on one model is one on the other; a name alone stands for all its versions."""
    if named is None:
        return False
    return named == asked or named.startswith(f"{asked}/") or asked.startswith(f"{named}/")


def target_in_words(target: TrailTarget) -> str:
    """One line: what was touched."""
    span = f"{format_time(target.start)} to {format_time(target.end)}" if target.start and target.end else None
    camera = target.camera_id or ("every camera" if span else None)
    parts = [
        target.model,
        f"channel {target.channel}" if target.channel else None,
        camera,
        span,
        ", ".join(target.names) or None,
        f"to {target.out}" if target.out else None,
    ]
    return ", ".join(part for part in parts if part)


def _of_channels(question: AuditQuestion, registry: Registry, answer: AuditAnswer) -> Iterator[Deed]:
    if not registry.trusted.keys:
        answer.notes.append("channels were not asked: no key of promotion is trusted here; name it with --key")
        return
    for name, channels in registry.released().items():
        if question.model is not None and name != question.model.partition("/")[0]:
            continue
        for channel in channels:
            place = f"{name}/{channel}"
            try:
                found = registry.channel(name, channel)
                pointer, statement, history = found.pointer(), found.statement(), found.history()
            except UserError as error:
                answer.findings.append(f"channel {place}: {error}")
                continue
            if pointer is not None and statement is not None and statement.release > pointer.release:
                answer.findings.append(
                    f"channel {place} serves release {pointer.release}, and promotion stated at "
                    f"{format_time(statement.at)} that {statement.release} is the newest; an older pointer was put back"
                )
            answer.findings += [f"channel {place}: {key}: {why}" for key, why in history.rejected.items()]
            for past in history.releases:
                release = past.entry.pointer
                if question.model is not None and not _is_model(f"{name}/{release.version}", question.model):
                    continue
                flags = "".join(f", {flag}" for flag in ("forced", "unjudged") if getattr(release, flag))
                yield Deed(
                    at=release.moved_at,
                    who=release.moved_by,
                    role="promotion",
                    what=past.entry.kind,
                    target=f"{name}/{release.version}, channel {channel}",
                    result=f"release {release.release}{flags}, {past.state}",
                    meaning="",
                    reason=release.reason,
                    source="channel",
                    place=place,
                    proof="signed by promotion",
                )


def _of_devices(question: AuditQuestion, registry: Registry, answer: AuditAnswer) -> Iterator[Deed]:
    listed = (info.key.removeprefix(DEVICE_AUDITS) for info in registry.store.list(DEVICE_AUDITS))
    enrolled = enrolled_devices(registry.store, registry.trusted)
    for device in sorted({key.partition("/")[0] for key in listed}):
        try:
            copies = DeviceCopies.read(registry.store, device)
        except UserError as error:
            answer.findings.append(f"device {device}: {error}")
            continue
        keys = _keys_for_lines(enrolled.of_device(device))
        if keys is None:
            answer.notes.append(
                f"no key of device {device} is enrolled: its lines were checked with the key that its log begins with; "
                "enrol it with: yolo-assets keys enroll"
            )
        reports = copies.verify(keys)
        answer.findings += [
            f"device {device}: log {report.log_id}: {finding}" for report in reports for finding in report.findings
        ]
        for line in copies.lines():
            if _is_of(line, question):
                yield _deed_on_device(line)


def _keys_for_lines(enrolled: Sequence[DeviceKey]) -> TrustedKeys | None:
    """The enrolled keys of a device, for the lines that it wrote; None when none is.

    A line counts from before the enrolment, too, and of a revoked key until it was revoked: the chain and the copies in
    the store hold the older ones.
    """
    keys: dict[str, TrustedKey] = {}
    for one in enrolled:
        ends = [end for end in (one.key.not_after, one.key.revoked_at) if end is not None]
        keys[one.key_id] = replace(one.key, not_before=None, not_after=min(ends, default=None), revoked_at=None)
    return TrustedKeys(keys) if keys else None


def _is_of(line: AuditLine, question: AuditQuestion) -> bool:
    if question.hour is not None and line.at not in question.hour:
        return False
    if question.model is not None:
        return _is_model(line.source, question.model) or _is_model(line.target, question.model)
    return question.camera_id is None or question.camera_id in f"{line.reason} {line.source} {line.target}".split()


def _deed_on_device(line: AuditLine) -> Deed:
    change = " → ".join(filter(None, [line.source, line.target]))
    return Deed(
        at=line.at,
        who=line.who,
        role="",
        what=line.kind,
        target=change or line.device_id,
        result=line.result,
        meaning="",
        reason=line.reason,
        source="device",
        place=f"{line.device_id} line {line.sequence}",
        proof="signed by the device",
    )
