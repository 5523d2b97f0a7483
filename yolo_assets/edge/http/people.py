"""The people who may use an agent's page and API: who they are, by which token or certificate, and their roles.

Belongs here: the file of people, its changes, and who a token or certificate is. Does not belong here: what a route
needs (``access``). The file holds hashes of tokens, never a token. A person who was withdrawn stays in it, so that a
name in the audit log is never somebody else's.
"""

from __future__ import annotations

import getpass
import hashlib
import hmac
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from yolo_assets.contracts.base import Record, Time, one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import utc_now
from yolo_assets.runtime.files import locked_file, write_atomic

log = logging.getLogger(__name__)

Role = Literal["see", "operate", "administer"]
ROLES: tuple[Role, ...] = ("see", "operate", "administer")
"""Each may do what those before it may."""

SHARED = "token holder"
"""Who uses the one token of the configuration: an administrator whom nobody can name."""


def may(role: Role, needed: Role) -> bool:
    """Whether a role is enough."""
    return ROLES.index(role) >= ROLES.index(needed)


class DevicePerson(Record):
    """One person, with a token, a client certificate or both."""

    name: str = Field(min_length=1, max_length=80)
    role: Role
    token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    certificate: str | None = Field(default=None, min_length=1, max_length=80, description="common name of its subject")
    added_at: Time
    added_by: str
    withdrawn_at: Time | None = None
    withdrawn_by: str | None = None

    @field_validator("name")
    @classmethod
    def _readable(cls, value: str) -> str:
        if not value.isprintable() or value != value.strip() or value == SHARED:
            raise ValueError(f"{value!r} cannot be the name of a person")
        return value

    @model_validator(mode="after")
    def _known_by_something(self) -> DevicePerson:
        if self.token_sha256 is None and self.certificate is None:
            raise ValueError(f"{self.name} has neither a token nor a certificate")
        return self

    @property
    def active(self) -> bool:
        """Whether the person was not withdrawn."""
        return self.withdrawn_at is None

    def in_words(self) -> str:
        """For the audit log: what the person may do, how they are known, and who said so."""
        known_by = " and ".join(
            word
            for word, there in (
                ("a token", self.token_sha256),
                (f"the certificate {self.certificate}", self.certificate),
            )
            if there
        )
        if not self.active:
            return f"may do nothing any more; withdrawn by {self.withdrawn_by}"
        return f"may {self.role}, known by {known_by}; added by {self.added_by}"


class DevicePeople(Record):
    """The file: everybody who was ever added."""

    schema_version: Literal[1] = 1
    people: tuple[DevicePerson, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> DevicePeople:
        for what, values in (
            ("name", [person.name for person in self.people]),
            ("certificate", [person.certificate for person in self.people if person.active and person.certificate]),
        ):
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"the {what} {twice} is there twice; every person needs an own one")
        return self


def read_people(file: Path) -> DevicePeople:
    """Everybody in a file; nobody where there is none.

    Raises:
        BadInputError: it cannot be read, or is no such file.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return DevicePeople()
    except OSError as error:
        raise BadInputError(f"people_file: cannot read {file}: {error.strerror}") from None
    return DevicePeople.from_json(data, str(file))


def add_person(file: Path, name: str, role: Role, *, certificate: str | None = None) -> str | None:
    """Add somebody, with a new token or, where one is named, with a certificate.

    Returns:
        The token, which is kept nowhere; None for a person with a certificate.

    Raises:
        BadInputError: the name or the certificate is taken, or cannot be one.
    """
    token = secrets.token_urlsafe(32) if certificate is None else None
    entry = {
        "name": name,
        "role": role,
        "token_sha256": _digest(token) if token is not None else None,
        "certificate": certificate,
        "added_at": utc_now(),
        "added_by": getpass.getuser(),
    }

    def added(people: DevicePeople) -> DevicePeople:
        before = next((person for person in people.people if person.name == name), None)
        if before is not None:
            gone = "" if before.active else ", and was withdrawn: a name in the audit log is never somebody else's"
            raise BadInputError(f"{name} is there already{gone}; withdraw it, or give another name, like 'A. Berg 2'")
        return DevicePeople(people=(*people.people, DevicePerson.model_validate(entry)))

    _change(file, added)
    return token


def withdraw_person(file: Path, name: str) -> None:
    """Let somebody do nothing any more, at once.

    Raises:
        BadInputError: there is no such person.
    """

    def withdrawn(people: DevicePeople) -> DevicePeople:
        there = [person.name for person in people.people if person.active]
        if name not in there:
            raise BadInputError(f"there is no {name} in {file}; there are: {', '.join(there) or 'none'}")
        gone = {"withdrawn_at": utc_now(), "withdrawn_by": getpass.getuser()}
        return DevicePeople(
            people=tuple(person.model_copy(update=gone) if person.name == name else person for person in people.people)
        )

    _change(file, withdrawn)


def _change(file: Path, change: Callable[[DevicePeople], DevicePeople]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(file.with_name(f".{file.name}.lock"), f"{file} is being changed by somebody else; try again"):
            try:
                changed = change(read_people(file))
            except ValidationError as error:
                raise BadInputError(one_line(error)) from None
            write_atomic(file, changed.to_json())
    except OSError as error:
        raise BadInputError(f"people_file: cannot write {file}: {error.strerror}") from None


@dataclass(frozen=True)
class Identity:
    """Whoever sent a request: a person, or the holder of the configuration's one token."""

    name: str
    role: Role


class PeopleBook:
    """Who may use an agent now. A change of the file counts from the next request on.

    A file that cannot be read any more changes nothing: the people who were in it last stay.

    Args:
        file: of people; need not exist.
        shared: the one token of the configuration, whose holder is an administrator; None: there is none.

    Raises:
        BadInputError: the file is there and cannot be read.
    """

    def __init__(self, file: Path | None, shared: str | None) -> None:
        self.on_change: Callable[[], None] = lambda: None
        """Called after somebody was added or withdrawn."""
        self._file = file
        self._shared = shared.encode() if shared else None
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._people = read_people(file) if file is not None else DevicePeople()

    @property
    def anybody(self) -> bool:
        """Whether there is a token or a person at all."""
        self._refresh()
        return self._shared is not None or any(person.active for person in self._people.people)

    def told(self) -> dict[str, str]:
        """What everybody may do, in words, by ``people.<name>``: for the audit log."""
        return {f"people.{person.name}": person.in_words() for person in self._people.people}

    def find(self, token: str | None, certificate: str | None) -> Identity | None:
        """Whose token or verified certificate this is; None: nobody's.

        A token counts before a certificate. Comparing the shared token takes the same time however much of it is right;
        of the others hashes are compared.
        """
        self._refresh()
        if token is not None:
            if self._shared is not None and hmac.compare_digest(token.encode(), self._shared):
                return Identity(SHARED, "administer")
            digest = _digest(token)
            for person in self._people.people:
                if person.active and person.token_sha256 and hmac.compare_digest(digest, person.token_sha256):
                    return Identity(person.name, person.role)
            return None
        for person in self._people.people:
            if certificate is not None and person.active and person.certificate == certificate:
                return Identity(person.name, person.role)
        return None

    def _refresh(self) -> None:
        with self._lock:
            stamp = self._look()
            if stamp == self._stamp or self._file is None:
                return
            self._stamp = stamp
            try:
                self._people = read_people(self._file)
            except BadInputError as error:
                log.error("the people who may use this agent stay as they were: %s", error)
                return
        self.on_change()

    def _look(self) -> tuple[int, int, int] | None:
        """What differs once the file was written anew."""
        try:
            found = self._file.stat() if self._file is not None else None
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size) if found is not None else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
