"""What an error of S3 or of the line to it means for a person, in one line, and whether trying again can help."""

from __future__ import annotations

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.storage.base import ColdObjectError, StoreUnavailableError

_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException"}
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}
_REFUSED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"}
_EXPIRED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "ExpiredTokenException"}
_REGION = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_FULL = {"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "507"}


def error_code(error: boto.ClientError) -> str:
    """The service's name for the error; the HTTP status as text where the answer had no body (HEAD)."""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: boto.ClientError) -> int:
    """The HTTP status of the answer, 0 when it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def refused(error: boto.ClientError, *, url: str, bucket: str, endpoint: str, key: str) -> UserError:
    """The line for an answer of the service that no method expects."""
    code, what = error_code(error), f"{url}/{key}" if key else url
    if code in _FULL:
        return StoreUnavailableError(
            f"{endpoint} has no room for {what}; free space or raise the quota, then run again"
        )
    if code in _DAMAGED:
        return StoreUnavailableError(f"the bytes of {what} were damaged on the way ({code}); run again")
    if code in _BUSY or (http_status(error) >= 500 and http_status(error) != 501) or http_status(error) == 429:
        return StoreUnavailableError(f"{endpoint} is busy or ill ({code}) and did not do {what}; run again")
    if code == "InvalidObjectState":
        return ColdObjectError(what, error.response.get("AccessTier") or error.response.get("StorageClass"))
    if code == "EntityTooSmall":
        return BadInputError(f"a part of {what} is under 5 MiB and not the last; use larger parts")
    return StoreUnavailableError(_permanent(error, code, what, bucket, endpoint), transient=False)


def _permanent(error: boto.ClientError, code: str, what: str, bucket: str, endpoint: str) -> str:
    if code == "NoSuchBucket":
        return f"bucket {bucket} does not exist at {endpoint}; create it or correct the store's URL"
    if code == "InvalidAccessKeyId":
        return f"{endpoint} does not know the access key; check AWS_ACCESS_KEY_ID"
    if code == "SignatureDoesNotMatch":
        return f"{endpoint} refuses the secret key; check AWS_SECRET_ACCESS_KEY"
    if code in _EXPIRED:
        return f"the session token for {endpoint} has expired; get new credentials and set AWS_SESSION_TOKEN"
    if code == "RequestTimeTooSkewed":
        return f"the clock of this machine differs from that of {endpoint}; set it, for example with NTP"
    if code in _REFUSED:
        action = error.operation_name
        return (
            f"these credentials may not do {action} on {what}; give them the right, or use others (AWS_ACCESS_KEY_ID)"
        )
    if code in _REGION:
        return f"bucket {bucket} is in another region than the one set; correct AWS_DEFAULT_REGION"
    if http_status(error) == 404 and code in ("", "404"):
        return f"{endpoint} does not answer like S3; check AWS_ENDPOINT_URL_S3"
    if http_status(error) == 501 or code == "NotImplemented":
        return f"{endpoint} does not support {error.operation_name} as needed for {what}; use a store that does"
    message = str(error.response.get("Error", {}).get("Message") or "no reason given")
    return f"{endpoint} refused {error.operation_name} on {what}: {code or http_status(error)}, {message}"


def unreachable(error: boto.BotoCoreError | ResponseParserError, *, endpoint: str) -> UserError:
    """The line for a request that got no proper answer."""
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return StoreUnavailableError(
            "there are no complete S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            transient=False,
        )
    if isinstance(error, boto.SSLError):
        return StoreUnavailableError(
            f"no TLS with {endpoint}: {error}; for an own authority set AWS_CA_BUNDLE to its certificate file",
            transient=False,
        )
    if isinstance(error, boto.ParamValidationError):
        return BadInputError(f"this cannot be asked of S3: {error}")
    if isinstance(error, boto.FlexibleChecksumError):
        return StoreUnavailableError(f"bytes from {endpoint} were damaged on the way; run again")
    if isinstance(error, ResponseParserError):
        return StoreUnavailableError(f"{endpoint} does not answer like S3; check AWS_ENDPOINT_URL_S3", transient=False)
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError | boto.IncompleteReadError):
        return StoreUnavailableError(
            f"cannot reach {endpoint} ({type(error).__name__}); check AWS_ENDPOINT_URL_S3, the network and the server"
        )
    return StoreUnavailableError(f"talking to {endpoint} failed: {error}; check the AWS_* variables", transient=False)
