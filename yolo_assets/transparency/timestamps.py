"""Time stamps as RFC 3161 has them: an authority signs that a checkpoint was there at a time.

The token is over the bytes of the checkpoint as stored, so ``openssl ts -verify -data <checkpoint> -in <token>`` checks
it. Belongs here: asking for one, and checking one. Does not belong here: which authority is trusted; its certificates
come from the operator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import urllib3
from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response
from rfc3161_client.errors import VerificationError

from yolo_assets.contracts.errors import BadInputError, SignatureError, UserError

_TIMEOUT = 20.0
_GRANTED = (0, 1)


class AuthorityError(UserError):
    """The time-stamp authority gave no token; a later try may get one."""

    may_pass = True


def request_token(url: str, data: bytes) -> bytes:
    """Have an authority stamp these bytes.

    Args:
        url: of the authority.
        data: of which only the SHA-256 is sent.

    Returns:
        Its answer, with the token in it (DER).

    Raises:
        AuthorityError: it is away, refuses, or answers about something else.
    """
    query = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
    try:
        with urllib3.PoolManager() as pool:
            answer = pool.request(
                "POST", url, body=query.as_bytes(), headers=headers, timeout=_TIMEOUT, retries=False, redirect=False
            )
    except urllib3.exceptions.HTTPError as error:
        raise AuthorityError(f"the time-stamp authority at {url} does not answer: {error}") from None
    if answer.status != 200:
        raise AuthorityError(f"the time-stamp authority at {url} answers with status {answer.status}")
    try:
        token = decode_timestamp_response(answer.data)
        granted = token.status in _GRANTED
        stamped = granted and token.tst_info.message_imprint.message == hashlib.sha256(data).digest()
        fresh = stamped and token.tst_info.nonce == query.nonce
    except ValueError:
        raise AuthorityError(f"what answers at {url} is no time-stamp authority") from None
    if not fresh:
        what = "another time stamp than was asked for" if granted else "no time stamp"
        raise AuthorityError(f"the time-stamp authority at {url} gave {what}")
    return answer.data


def stamped_at(token: bytes, data: bytes, roots: Sequence[x509.Certificate] | None, label: str) -> datetime:
    """When an authority stamped these bytes.

    Args:
        token: its answer.
        data: what was stamped.
        roots: certificates that are trusted; None: only the time is read, and nothing proven.
        label: what errors call it.

    Raises:
        SignatureError: it is no time stamp, one of something else, or not by an authority that is trusted.
    """
    try:
        answer = decode_timestamp_response(token)
        if roots is not None:
            builder = VerifierBuilder()
            for root in roots:
                builder = builder.add_root_certificate(root)
            builder.build().verify_message(answer, data)
        return answer.tst_info.gen_time.astimezone(UTC)
    except ValueError:
        raise SignatureError(f"{label} is no time stamp; it was changed or damaged") from None
    except VerificationError as error:
        raise SignatureError(
            f"{label} is not the time stamp of its checkpoint by a trusted authority: {error}"
        ) from None


def load_roots(path: Path) -> list[x509.Certificate]:
    """Certificates of the authorities that are trusted, PEM, one or more in a file.

    Raises:
        BadInputError: it cannot be read, or holds none.
    """
    try:
        return list(dict.fromkeys(x509.load_pem_x509_certificates(path.read_bytes())))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds no certificate in PEM"
        raise BadInputError(f"{path} is no file of certificates: {reason}") from None
