"""The verdict on the history of an archive: its receipts against its log, and the log against what others kept.

Found inside the archive alone: receipts that were written anew, removed or put in later, and a log that does not
continue itself. Who holds the log's key and may replace objects can rewrite receipts and log together: that is found by
a checkpoint kept elsewhere, by a witness that co-signs no more, and by time stamps that come too late. Does not belong
here: whether an archive is what its receipt says (``archive.audit``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.checkpoint import Cosignature, Note, NoteSignature, SignedCheckpoint, VerifierKey
from yolo_assets.contracts.errors import IntegrityError, SignatureError
from yolo_assets.contracts.merkle import GrowingTree, leaf_hash, merkle_root
from yolo_assets.contracts.names import CHECKPOINTS, checkpoint_token_key, parse_checkpoint_key
from yolo_assets.contracts.times import format_time
from yolo_assets.transparency.log import KnownReceipt, ReceiptList, ReceiptLog, StoredCheckpoint, grow

TOO_OLD = timedelta(hours=50)
"""A daily checkpoint may be late, and miss a day; then somebody has to look."""
TOO_LATE = timedelta(days=8)
"""A receipt comes into the log so long after it was verified, at most: the catalog reads all receipts once a week."""
APART = timedelta(hours=25)
"""So far apart the time of a checkpoint and that of its stamp may be."""

Kind = Literal["log", "rewritten", "dropped", "inserted", "untrusted", "forked", "withheld", "unwitnessed", "unstamped"]


@dataclass(frozen=True)
class HistoryFinding:
    """Something that is not as it was signed.

    Attributes:
        kind: ``log``: the log does not continue itself; ``rewritten``, ``dropped``, ``inserted``, ``untrusted``: a
            receipt is not what the log has, is gone, came too late, or no trusted key signed it; ``forked``: somebody
            keeps another history; ``withheld``: something newer was there; ``unwitnessed``, ``unstamped``: a witness
            or an authority does not say what it should.
        text: one line.
        receipts: which, by key.
    """

    kind: Kind
    text: str
    receipts: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckpointState:
    """A checkpoint, and who said so besides the log.

    Attributes:
        stored: the checkpoint.
        added: receipts that came with it.
        cosigned: by the witnesses whose keys were given.
        unchecked: names of others that co-signed; their keys were not given, so that proves nothing.
        stamped_at: time of its stamp; None without one. Proven only where certificates were given.
    """

    stored: StoredCheckpoint
    added: int
    cosigned: tuple[Cosignature, ...]
    unchecked: tuple[str, ...]
    stamped_at: datetime | None


@dataclass
class History:
    """What an archive's log says, and what does not fit.

    Attributes:
        checkpoints: in order.
        findings: none when all is as it was signed.
        places: of each receipt in the log: which of ``checkpoints`` has it first, and its entry.
        waiting: receipts that the next checkpoint will have.
        expired: receipts in the log whose retention is over and that are gone.
    """

    checkpoints: list[CheckpointState] = field(default_factory=list[CheckpointState])
    findings: list[HistoryFinding] = field(default_factory=list[HistoryFinding])
    places: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    waiting: int = 0
    expired: int = 0

    def find(self, kind: Kind, text: str, receipts: Sequence[str] = ()) -> None:
        """Add a finding."""
        self.findings.append(HistoryFinding(kind, text, tuple(receipts)))


@dataclass(frozen=True)
class Others:
    """What people outside the archive keep.

    Attributes:
        checkpoints: notes with what to call them.
        witnesses: keys of witnesses who must have co-signed.
        roots: certificates of time-stamp authorities who must have stamped; None: none must.
    """

    checkpoints: Sequence[tuple[str, bytes]] = ()
    witnesses: Sequence[VerifierKey] = ()
    roots: Sequence[x509.Certificate] | None = None


def verify_history(
    archive: Archive, receipts: Iterable[KnownReceipt], others: Others, now: datetime, *, whole: bool = True
) -> History:
    """Hold an archive's receipts against its log, and the log against what others keep.

    Args:
        archive: only read; the keys that it trusts may have signed the log.
        receipts: what is in the archive now.
        others: what is kept outside.
        now: the present.
        whole: ``receipts`` are all there are: what the log has more is gone.
    """
    history, tree = History(), GrowingTree()
    lists: list[ReceiptList] = []
    stored: list[StoredCheckpoint] = []
    try:
        for one, added in ReceiptLog(archive).steps():
            if stored and one.checkpoint.origin != stored[0].checkpoint.origin:
                raise IntegrityError(f"{one.key} is of another log, {one.checkpoint.origin}")
            if stored and one.signed.at < stored[-1].signed.at:
                raise IntegrityError(f"{one.key} says an earlier time than the checkpoint before it")
            grow(tree, one, added)
            stored.append(one)
            lists.append(added)
    except (IntegrityError, SignatureError) as error:
        history.find("log", str(error))
    if not stored:
        if not history.findings:
            history.find(
                "log", f"there is no checkpoint in {archive.url}; make one with: yolo-assets archive checkpoint"
            )
        return history
    if archive.trusted.keys[stored[-1].signed.key_id].revoked_at is not None:
        history.find(
            "log",
            f"{stored[-1].key}, the last one, is signed by a revoked key; make one with another: archive checkpoint",
        )
    states = states_of_checkpoints(archive, stored, lists, others)
    history.checkpoints += states.checkpoints
    history.findings += states.findings
    _compare_receipts(history, stored, lists, receipts, now, whole=whole)
    _compare_kept(history, archive, stored, lists, others)
    _ask_for_witnesses(history, others, now)
    if now - stored[-1].signed.at > TOO_OLD:
        history.find(
            "withheld",
            f"the last checkpoint is of {format_time(stored[-1].signed.at)}: none was made since, or the store "
            "withholds them",
        )
    return history


def _compare_receipts(
    history: History,
    stored: list[StoredCheckpoint],
    lists: list[ReceiptList],
    receipts: Iterable[KnownReceipt],
    now: datetime,
    *,
    whole: bool,
) -> None:
    hashes = [digest for one in lists for digest in one.hashes]
    for number, one in enumerate(lists):
        first = len(history.places)
        history.places.update((key, (number, first + at)) for at, key in enumerate(one.keys))
    rewritten, inserted, untrusted, seen = list[str](), list[str](), list[str](), set[str]()
    newest, late = stored[-1].signed.at.timestamp(), TOO_LATE.total_seconds()
    times = [one.signed.at.timestamp() for one in stored]
    for known in receipts:
        seen.add(known.key)
        number, entry = history.places.get(known.key, (None, 0))
        if known.sha256 is not None and number is not None and hashes[entry] != known.sha256:
            rewritten.append(known.key)
        elif known.problem is not None or known.verified_at is None:
            untrusted.append(known.key)
        elif number is None:
            if known.verified_at < newest - late:
                inserted.append(known.key)
            else:
                history.waiting += 1
        elif number and known.verified_at < times[number - 1] - late:
            inserted.append(known.key)
    if rewritten:
        number, _ = history.places[rewritten[0]]
        _told(history, "rewritten", rewritten, f"checkpoint {stored[number].number} has another; it was written anew")
    if inserted:
        when = "say that they were verified long before the first checkpoint that has them; they were put in later"
        _told(history, "inserted", inserted, when)
    if untrusted:
        _told(history, "untrusted", untrusted, "no trusted key signed it")
    if whole:
        _find_dropped(history, stored, lists, seen, now)


def _find_dropped(
    history: History, stored: list[StoredCheckpoint], lists: list[ReceiptList], seen: set[str], now: datetime
) -> None:
    today, dropped = now.astimezone(UTC).date().isoformat(), list[str]()
    for one in lists:
        ends = [first for first, _ in one.kept[1:]] + [len(one.keys)]
        for (first, day), end in zip(one.kept, ends, strict=False):  # none begins where no receipt is
            gone = [key for key in one.keys[first:end] if key not in seen]
            if day is not None and day < today:
                history.expired += len(gone)
            else:
                dropped += gone
    if dropped:
        number, _ = history.places[dropped[0]]
        when = f"checkpoint {stored[number].number} of {format_time(stored[number].signed.at)} has it; it is gone"
        _told(history, "dropped", dropped, when)


def _told(history: History, kind: Kind, keys: list[str], what: str) -> None:
    count = f"{len(keys)} receipts, the first: " if len(keys) > 1 else ""
    history.find(kind, f"{count}{keys[0]}: {what}", keys)


def states_of_checkpoints(
    archive: Archive, stored: list[StoredCheckpoint], lists: list[ReceiptList], others: Others
) -> History:
    """Who says so besides the log, for each checkpoint, and what of that does not fit.

    Args:
        archive: with the co-signatures and time stamps.
        stored: the checkpoints, in order.
        lists: what each added.
        others: keys of witnesses, and certificates of authorities.
    """
    history = History()
    listed = [info.key for info in archive.store.list(CHECKPOINTS)]
    lines: dict[int, list[NoteSignature]] = {}
    for key in listed:
        number, what = parse_checkpoint_key(key) or (0, "")
        if what == "cosignature":
            try:
                line = archive.store.get(key).decode("utf-8", "replace").removesuffix("\n")
                lines.setdefault(number, []).append(NoteSignature.parse(line, key))
            except SignatureError as error:
                history.find("unwitnessed", str(error))
    for label, data in others.checkpoints:
        try:
            note = Note.parse(data, label)
        except SignatureError:
            continue  # told where it is compared
        for one in stored:
            if one.signed.note.text == note.text:
                lines.setdefault(one.number, []).extend(note.signatures)
    for one, added in zip(stored, lists, strict=True):
        note = one.signed.note.signed_also(lines.get(one.number, []))
        signed = SignedCheckpoint(one.checkpoint, note, one.signed.at, one.signed.key_id)
        cosigned: list[Cosignature] = []
        try:
            cosigned = signed.cosigned_by(others.witnesses, one.key)
        except SignatureError as error:
            history.find("unwitnessed", str(error))
        known = {one.checkpoint.origin, *(key.name for key in others.witnesses)}
        unchecked = tuple(sorted({line.name for line in note.signatures} - known))
        history.checkpoints.append(
            CheckpointState(one, len(added), tuple(cosigned), unchecked, _stamp(history, archive, one, listed, others))
        )
    if others.roots is not None:
        stamped = [one.stamped_at is not None for one in history.checkpoints]
        first = stamped.index(True) if any(stamped) else 0
        missing = [one.stored.key for one, there in zip(history.checkpoints, stamped, strict=True) if not there][first:]
        if missing and not (len(missing) == 1 and missing[0] == stored[-1].key):
            history.find("unstamped", f"{len(missing)} checkpoints have no time stamp, the first: {missing[0]}")
    return history


def _stamp(
    history: History, archive: Archive, one: StoredCheckpoint, listed: list[str], others: Others
) -> datetime | None:
    from yolo_assets.transparency.timestamps import stamped_at

    key = checkpoint_token_key(one.number)
    if key not in listed:
        return None
    try:
        at = stamped_at(archive.store.get(key), one.data, others.roots, key)
    except SignatureError as error:
        history.find("unstamped", str(error))
        return None
    if abs(at - one.signed.at) > APART:
        history.find("unstamped", f"{one.key} says {format_time(one.signed.at)}, and was stamped at {format_time(at)}")
    return at


def _compare_kept(
    history: History, archive: Archive, stored: list[StoredCheckpoint], lists: list[ReceiptList], others: Others
) -> None:
    newest, roots = stored[-1], {one.checkpoint.size: one.checkpoint.root for one in stored}
    for label, data in others.checkpoints:
        try:
            kept = SignedCheckpoint.parse(data, archive.trusted, label)
        except SignatureError as error:
            history.find("forked", str(error))
            continue
        stated, when = kept.checkpoint, format_time(kept.at)
        if stated.origin != newest.checkpoint.origin:
            history.find(
                "forked", f"{label} is of the log {stated.origin}, the archive's is {newest.checkpoint.origin}"
            )
        elif stated.size > newest.checkpoint.size or kept.at > newest.signed.at:
            history.find(
                "withheld",
                f"{label} of {when} has {stated.size} receipts, and the archive's log ends with "
                f"{newest.checkpoint.size} at {format_time(newest.signed.at)}: the store withholds what is newer, or "
                "was set back",
            )
        else:
            if (root := roots.get(stated.size)) is None:
                hashes = [digest for one in lists for digest in one.hashes][: stated.size]
                root = merkle_root([leaf_hash(digest) for digest in hashes])
            if root != stated.root:
                history.find(
                    "forked",
                    f"{label} of {when} has other {stated.size} receipts than the archive's log: the history was "
                    "rewritten",
                )


def _ask_for_witnesses(history: History, others: Others, now: datetime) -> None:
    for key in others.witnesses:
        times = [one.at for state in history.checkpoints for one in state.cosigned if one.name == key.name]
        if not times:
            history.find("unwitnessed", f"{key.name} co-signed no checkpoint of this log")
        elif now - max(times) > TOO_OLD:
            history.find(
                "unwitnessed",
                f"{key.name} co-signed last at {format_time(max(times))}: since then it saw nothing new, or refused",
            )
