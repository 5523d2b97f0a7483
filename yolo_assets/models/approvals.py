"""People who approve a release, each with a key of their own: k of n before a channel moves to it.

A proposal is one envelope: promotion's signature first, then one of each person, over the same bytes. What a person's
signature means, and when it was given, is an object of its own, signed by the same key. Whose signature
counts is said by ``plant.yaml`` of the machine that promotes, never by the store. A rollback needs no approval: it is
urgent and leads to what was approved before. Does not belong here: moving a channel (``promotion``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from yolo_assets.contracts.dsse import Envelope
from yolo_assets.contracts.errors import BadInputError, SignatureError, UserError
from yolo_assets.contracts.names import approval_key, proposal_key
from yolo_assets.contracts.releasing import Meaning, People, ReleaseApproval, ReleaseProposal
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.storage.base import AlreadyExistsError, CasConflictError, ObjectNotFoundError, ObjectStore

_TRIES = 20


class ApprovalsMissingError(UserError):
    """A release waits for people; the message says for how many, and how they approve it."""


@dataclass(frozen=True)
class PersonSignature:
    """The signature of a person under a proposal, as 21 CFR 11.50 wants it shown: name, time, meaning.

    Attributes:
        name: of the person, as plant.yaml has it.
        meaning: None for one that was given before signatures had a meaning.
        at: when it was given; None as above.
    """

    name: str
    meaning: Meaning | None = None
    at: datetime | None = None

    def in_words(self) -> str:
        """``anna: reviewed, 2026-01-02T03:04:05.678Z``; the name alone where nothing else is known."""
        return f"{self.name}: {self.meaning}, {format_time(self.at)}" if self.meaning and self.at else self.name


@dataclass(frozen=True)
class ProposalStatus:
    """A release that was proposed.

    Attributes:
        proposal: what is to be released.
        signatures: of the people whose good signature is on it, by name.
        needed: how many must be.
    """

    proposal: ReleaseProposal
    signatures: tuple[PersonSignature, ...]
    needed: int

    @property
    def approved_by(self) -> tuple[str, ...]:
        """The names of these people, in order."""
        return tuple(one.name for one in self.signatures)

    def in_words(self) -> str:
        """Each signature with its meaning and time."""
        return "; ".join(one.in_words() for one in self.signatures)

    @property
    def complete(self) -> bool:
        """Whether enough people approved it."""
        return len(self.approved_by) >= self.needed


class Approvals:
    """The proposals of a store, and the people who may approve them.

    Args:
        store: the store root.
        people: of ``plant.yaml``.
        trusted: keys of promotion.

    Raises:
        SignatureError: the key of a person cannot be read, or two people have the same one.
    """

    def __init__(self, store: ObjectStore, people: People, trusted: TrustedKeys) -> None:
        self._store = store
        self._trusted = trusted
        self.needed = people.needed
        self._names: dict[str, str] = {}
        self._keys = TrustedKeys({})
        for name, file in people.keys.items():
            own = TrustedKeys.load([Path(file)])
            for key_id in own.keys:
                if key_id in self._names:
                    raise SignatureError(
                        f"{name} and {self._names[key_id]} have one key in plant.yaml; it would count twice"
                    )
                self._names[key_id] = name
            self._keys = self._keys.also(own)

    def status(self, name: str, channel: str, version: str) -> ProposalStatus | None:
        """What was proposed and who approved it; None when nothing was.

        Raises:
            SignatureError: the proposal was not made by promotion, or was changed.
        """
        key = proposal_key(name, channel, version)
        try:
            return self._status(Envelope.parse(self._store.get(key), key), key)
        except ObjectNotFoundError:
            return None

    def propose(self, proposal: ReleaseProposal, signer: Signer) -> ProposalStatus:
        """Put a release up for approval. One for the same bytes and the same release of the channel stays as it is."""
        key = proposal_key(proposal.name, proposal.channel, proposal.version)
        fresh = signer.seal(proposal.to_json(), "release-proposal")
        for _ in range(_TRIES):
            etag = None
            try:
                data, info = self._store.get_with_info(key)
                etag = info.etag
                there = self._status(Envelope.parse(data, key), key)
                if _same(there.proposal, proposal):
                    return there
            except (ObjectNotFoundError, SignatureError, BadInputError):
                pass  # none, or one that proves nothing: it is replaced
            try:
                self._store.compare_and_swap(key, fresh.to_json(), etag)
                return self._status(fresh, key)
            except CasConflictError:
                continue
        raise CasConflictError(f"{key} keeps being changed by other processes; try again")

    def name_of(self, person: Signer) -> str:
        """Whose key this is.

        Raises:
            BadInputError: of nobody in ``plant.yaml``.
        """
        if person.key_id not in self._names:
            raise BadInputError(
                f"key {person.key_id} belongs to nobody under people in plant.yaml; there are: "
                f"{', '.join(sorted(self._names.values()))}"
            )
        return self._names[person.key_id]

    def approve(
        self, name: str, channel: str, version: str, person: Signer, meaning: Meaning = "approved"
    ) -> ProposalStatus:
        """Add a person's signature, and say what it means.

        Raises:
            BadInputError: nothing was proposed, the key is of nobody in ``plant.yaml``, or the person signed it with
                another meaning.
            SignatureError: the proposal was not made by promotion.
        """
        key = proposal_key(name, channel, version)
        self.name_of(person)
        for _ in range(_TRIES):
            try:
                data, info = self._store.get_with_info(key)
            except ObjectNotFoundError:
                raise BadInputError(
                    f"{name}/{version} is not proposed for {channel}; propose it with: yolo-assets models promote "
                    f"{name}/{version} --channel {channel}"
                ) from None
            envelope = Envelope.parse(data, key)
            self._say(self._status(envelope, key).proposal, person, meaning)
            signed = person.co_sign(envelope, "release-proposal", key)
            if signed == envelope:
                return self._status(envelope, key)
            try:
                self._store.compare_and_swap(key, signed.to_json(), info.etag)
                return self._status(signed, key)
            except CasConflictError:
                continue
        raise CasConflictError(f"{key} keeps being changed by other processes; try again")

    def require(self, proposal: ReleaseProposal, signer: Signer) -> ProposalStatus:
        """Demand enough approvals for exactly this release, proposing it where nobody has.

        Raises:
            ApprovalsMissingError: it waits for people.
        """
        status = self.propose(proposal, signer)
        if status.complete:
            return status
        model, missing = f"{proposal.name}/{proposal.version}", self.needed - len(status.approved_by)
        have = f"approved by {', '.join(status.approved_by)}" if status.approved_by else "approved by nobody yet"
        raise ApprovalsMissingError(
            f"{model} waits for {missing} more of {self.needed} approvals for {proposal.channel} ({have}); each person "
            f"runs: yolo-assets models approve {model} --channel {proposal.channel} --key FILE; then promote it again"
        )

    def _say(self, proposal: ReleaseProposal, person: Signer, meaning: Meaning) -> None:
        """Write what a signature means before it is given, once."""
        said = ReleaseApproval(
            name=proposal.name,
            channel=proposal.channel,
            version=proposal.version,
            manifest_sha256=proposal.manifest_sha256,
            replaces=proposal.replaces,
            person=self._names[person.key_id],
            meaning=meaning,
            at=utc_now(),
        )
        key = _approval_key(proposal, person.key_id)
        try:
            self._store.put_if_absent(key, person.seal(said.to_json(), "release-approval").to_json())
        except AlreadyExistsError:
            before = self._signature(proposal, person.key_id)
            if before.meaning != meaning:
                raise BadInputError(
                    f"{before.name} signed {proposal.name}/{proposal.version} as {before.meaning or 'nothing known'} "
                    f"already, and what a signature means is never changed; see {key}"
                ) from None

    def _signature(self, proposal: ReleaseProposal, key_id: str) -> PersonSignature:
        """What a person's signature means; only the name where that is not on record, or not signed by the person."""
        person, key = self._names[key_id], _approval_key(proposal, key_id)
        try:
            envelope = Envelope.parse(self._store.get(key), key)
            if key_id not in self._keys.signers(envelope, "release-approval", key):
                return PersonSignature(person)
            said = ReleaseApproval.from_json(envelope.content(key), key)
        except (ObjectNotFoundError, SignatureError, BadInputError):
            return PersonSignature(person)
        fits = _approval_key(said, key_id) == key and said.manifest_sha256 == proposal.manifest_sha256
        return PersonSignature(person, said.meaning, said.at) if fits else PersonSignature(person)

    def _status(self, envelope: Envelope, key: str) -> ProposalStatus:
        content = self._trusted.open(envelope, "release-proposal", key)
        proposal = ReleaseProposal.from_json(content.payload, key)
        if proposal_key(proposal.name, proposal.channel, proposal.version) != key:
            raise BadInputError(f"{key} is the proposal of {proposal.name}/{proposal.version}; it was copied there")
        signers = self._keys.signers(envelope, "release-proposal", key)
        by_name = {self._names[one]: self._signature(proposal, one) for one in sorted(signers)}
        return ProposalStatus(proposal, tuple(by_name[name] for name in sorted(by_name)), self.needed)


def _approval_key(of: ReleaseProposal | ReleaseApproval, key_id: str) -> str:
    return approval_key(of.name, of.channel, of.version, of.manifest_sha256, of.replaces, key_id)


def proposal_of(
    name: str, channel: str, version: str, *, manifest_sha256: str, replaces: int, by: str, reason: str
) -> ReleaseProposal:
    """A proposal as of now."""
    return ReleaseProposal(
        name=name,
        channel=channel,
        version=version,
        manifest_sha256=manifest_sha256,
        replaces=replaces,
        proposed_at=utc_now(),
        by=by,
        reason=reason,
    )


def _same(one: ReleaseProposal, other: ReleaseProposal) -> bool:
    """Whether an approval of one is an approval of the other: same bytes, in place of the same release."""
    return (one.manifest_sha256, one.replaces) == (other.manifest_sha256, other.replaces)
