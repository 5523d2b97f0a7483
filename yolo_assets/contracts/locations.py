"""Where a person says that something lies: a folder, a bucket or a page, read by one rule wherever it is taken.

A location is ``file:///absolute/path``, ``s3://bucket/prefix`` or the path of a folder. What looks like another kind (a
path of Windows, the name of a share, another scheme, a variable that nothing expanded) is refused with the line that
helps. Taken for a path it would name a new folder in the current directory, and what is archived there is deleted here.

Does not belong here: what a bucket may be called and which keys are legal (``storage``).
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from yolo_assets.contracts.errors import UsageError

_USE = "use file:///absolute/path or s3://bucket/prefix"
_MOUNT = "mount it, and write the folder where it is mounted, like file:///mnt/archive"
_DRIVE = re.compile(r"/?[A-Za-z](:|：|\|(?=[\\/]))")
_VARIABLE = re.compile(r"\$|%[A-Za-z_]\w*%|.*\$\{")
_COLON_LOST = re.compile(r"(s3[an]?|file|https?|gs|smb|nfs)/{2,}", re.IGNORECASE)
_QUOTES = "\"'`“”‘’„«»"
_SHARES = ("smb", "cifs", "nfs", "afp", "dav", "davs", "webdav", "ftp", "sftp", "ssh", "sshfs")


def location_url(text: str, base: Path | None = None) -> str:
    """The URL of a location: ``file:///…`` for the path of a folder, a URL of ours as it is.

    Args:
        text: as a person wrote it.
        base: folder that a relative path counts from; default: the current one.

    Raises:
        UsageError: it is neither; the message says what to write instead and repeats nothing that may be a secret.
    """
    _check(text)
    if text.startswith("s3://"):
        return text
    if text.startswith("file://"):
        parse_file_url(text)
        return text
    path = (base or Path.cwd()).joinpath(text).absolute()
    if ".." in path.parts:
        raise UsageError(f"{_shown(text)} holds '..'; write the path in full")
    return path.as_uri()


def location_folder(text: str | Path) -> Path:
    """The path of a location that must be on this machine: a path as it is written, or that of a ``file://`` URL.

    Raises:
        UsageError: it is something else; the message says what to write instead.
    """
    written = str(text)
    _check(written)
    if written.startswith("s3://"):
        raise UsageError(f"{_shown(written)} is a bucket, and a path of this machine is needed here")
    return parse_file_url(written) if written.startswith("file://") else Path(written)


def page_address(text: str) -> str:
    """The address of a page that links begin with, without a slash at its end.

    Raises:
        ValueError: it is no address of a page, or it holds a password.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{_shown(text)} is not the address of a page; write it like https://dagster.plant.example")
    if parts.username or parts.password:
        raise ValueError("the address holds a user or a password; links with it go to many people: leave it out")
    return text.rstrip("/")


def parse_file_url(url: str) -> Path:
    """The absolute path that a ``file://`` URL names.

    Raises:
        UsageError: relative, on another host, of Windows, or with a raw ``?`` or ``#`` that would silently cut it.
    """
    host, slash, encoded = url.removeprefix("file://").partition("/")
    if "\\" in url or _DRIVE.match(host) or _DRIVE.match(encoded):
        raise UsageError(f"{_shown(url)} is a path of Windows; {_MOUNT} (a backslash is written %5C, a colon %3A)")
    if slash and host not in ("", "localhost"):
        raise UsageError(f"{_shown(url)} names a folder of another host; {_MOUNT}; a folder here: file:///{encoded}")
    if not slash:
        raise UsageError(f"{_shown(url)} does not name an absolute path; write it like file:///srv/archive")
    if encoded.startswith("/"):
        raise UsageError(f"{_shown(url)} is the name of a share; {_MOUNT}; a folder here: file:///srv/archive")
    if "?" in encoded or "#" in encoded:
        raise UsageError(f"{_shown(url)} holds '?' or '#'; write them as %3F and %23")
    try:
        path = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{_shown(url)} is not UTF-8 after percent-decoding") from None
    if "\0" in path or ".." in path.split("/"):
        raise UsageError(f"{_shown(url)} holds '..' or NUL; write the path in full")
    return Path("/" + path)


def _check(text: str) -> None:
    if not text.strip():
        raise UsageError("the location is empty; give a folder or a URL (is a shell variable not set?)")
    if any(unicodedata.category(char) == "Cc" for char in text):
        raise UsageError(f"{_shown(text)} holds a line break or another control character; write it without")
    if any(unicodedata.category(char) in ("Zs", "Zl", "Zp", "Cf") for char in (text[0], text[-1])):
        raise UsageError(f"{_shown(text)} begins or ends with a blank or an invisible character; write it without")
    if len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        raise UsageError(f"{_shown(text)} is in quotes that are taken for a part of it; write it without")
    if text.startswith("~"):
        raise UsageError(
            f"{_shown(text)}: only the shell knows '~'; write the path in full, like file:///home/ann/archive"
        )
    if _VARIABLE.match(text):
        raise UsageError(f"{_shown(text)} holds a variable that nothing has filled in; write the path in full")
    scheme, separator, _ = text.partition("://")
    if separator and "/" not in scheme and "\\" not in scheme:
        _check_scheme(scheme)
        return
    if text.startswith(("\\\\", "//", "＼＼")):
        raise UsageError(f"{_shown(text)} is the name of a share; {_MOUNT}; a folder here begins with one '/'")
    if _DRIVE.match(text):
        raise UsageError(f"{_shown(text)} is a path of Windows; {_MOUNT}")
    if "\\" in text:
        raise UsageError(f"{_shown(text)} holds a backslash; separate folders by '/' (a name with one: file:///…%5C…)")
    head = text.partition("/")[0]
    name, colon, _ = head.replace("：", ":").partition(":")
    if name.lower() in ("file", "s3") and colon:
        raise UsageError(f"{_shown(f'{name}:…')} is not complete; {_USE}")
    if colon:
        raise UsageError(
            f"{_shown(f'{name}:…')} is not a store; {_USE}; for a share: {_MOUNT}; for a folder with ':' in its name: "
            "write ./ before it"
        )
    if lost := _COLON_LOST.match(text):
        raise UsageError(f"'{lost[0]}…' lacks the ':'; {_USE}")


def _check_scheme(scheme: str) -> None:
    if scheme in ("file", "s3"):
        return
    if scheme.lower() in ("file", "s3"):
        raise UsageError(f"{scheme}://… is not a store; write {scheme.lower()}:// in small letters")
    advice = f"; for a share: {_MOUNT}" if scheme.lower() in _SHARES else ""
    if scheme.lower() in ("s3a", "s3n"):
        advice = "; write s3:// for it"
    shown = scheme if scheme.isalnum() and len(scheme) <= 16 else ""
    raise UsageError(f"{shown}://… is not a store; {_USE}{advice}")


def _shown(text: str) -> str:
    """As a person wrote it, without what stands before an ``@``: it may be a password."""
    return repr(re.sub(r".*@", "…@", text))
