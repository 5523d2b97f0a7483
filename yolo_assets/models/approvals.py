"""People who approve a release, each with a key of their own: k of n before a channel moves to it.

A proposal is one envelope: promotion's signature first, then one of each person, over the same bytes. Whose signature
counts is said by ``plant.yaml`` of the machine that promotes, never by the store. A rollback needs no approval: it is
urgent and leads to what was approved before. Does not belong here: moving a channel (``promotion``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolo_assets.contracts.dsse import Envelope
from yolo_assets.contracts.errors import BadInputError, SignatureError, UserError
from yolo_assets.contracts.names import proposal_key
from yolo_assets.contracts.releasing import People, ReleaseProposal
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.storage.base import CasConflictError, ObjectNotFoundError, ObjectStore

_TRIES = 20


class ApprovalsMissingError(UserError):
    """A release waits for people; the message says for how many, and how they approve it."""


@dataclass(frozen=True)
class ProposalStatus:
    """A release that was proposed.

    Attributes:
        proposal: what is to be released.
        approved_by: names of the people whose good signature is on it, in order.
        needed: how many must be.
    """

    proposal: ReleaseProposal
    approved_by: tuple[str, ...]
    needed: int

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

    def approve(self, name: str, channel: str, version: str, person: Signer) -> ProposalStatus:
        """Add a person's signature.

        Raises:
            BadInputError: nothing was proposed, or the key is of nobody in ``plant.yaml``.
            SignatureError: the proposal was not made by promotion.
        """
        key = proposal_key(name, channel, version)
        if person.key_id not in self._names:
            raise BadInputError(
                f"key {person.key_id} belongs to nobody under people in plant.yaml; there are: "
                f"{', '.join(sorted(self._names.values()))}"
            )
        for _ in range(_TRIES):
            try:
                data, info = self._store.get_with_info(key)
            except ObjectNotFoundError:
                raise BadInputError(
                    f"{name}/{version} is not proposed for {channel}; propose it with: yolo-assets models promote "
                    f"{name}/{version} --channel {channel}"
                ) from None
            envelope = Envelope.parse(data, key)
            self._status(envelope, key)
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

    def _status(self, envelope: Envelope, key: str) -> ProposalStatus:
        content = self._trusted.open(envelope, "release-proposal", key)
        proposal = ReleaseProposal.from_json(content.payload, key)
        if proposal_key(proposal.name, proposal.channel, proposal.version) != key:
            raise BadInputError(f"{key} is the proposal of {proposal.name}/{proposal.version}; it was copied there")
        signers = self._keys.signers(envelope, "release-proposal", key)
        return ProposalStatus(proposal, tuple(sorted({self._names[one] for one in signers})), self.needed)


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
