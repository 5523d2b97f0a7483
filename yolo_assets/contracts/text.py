"""Text from outside: its encoding, and how it is made safe to show to people (names of files, classes, batches)."""

from __future__ import annotations

import codecs
import unicodedata

from yolo_assets.contracts.errors import BadInputError

_JOINERS = "\u200c\u200d"

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
"""Byte-order marks, as Windows, PowerShell and .NET put them before a text, and the encoding that each announces."""


def plain(text: str) -> str:
    r"""Text with every character that is not seen as itself written out, like ``\u202e``: controls, directions.

    A joiner stays between two characters that it can join: in Arabic and Indic scripts, between the parts of an emoji.
    """
    around = zip(f" {text}", text, f"{text[1:]} ", strict=False)
    return "".join(
        char
        if char.isprintable() or (char in _JOINERS and _joins(before) and _joins(after))
        else char.encode("unicode_escape").decode("ascii")
        for before, char, after in around
    )


def _joins(char: str) -> bool:
    return "\u0600" <= char <= "\u0dff" or unicodedata.category(char) in ("So", "Sk", "Mn", "Mc")


def encoding_of(start: bytes) -> tuple[str, int]:
    """The encoding that a text announces by its first bytes, and the length of that mark; UTF-8 and 0 without one.

    Args:
        start: at least four bytes, if the text has as many.
    """
    return next(((name, len(mark)) for mark, name in MARKS if start.startswith(mark)), ("utf-8", 0))


def decode_text(data: bytes, source: str) -> str:
    """A text in UTF-8, or in the encoding that its byte-order mark announces; the mark is not part of the text.

    Args:
        data: the whole text.
        source: what the error should name: a path or a key.

    Raises:
        BadInputError: it is neither; no encoding is guessed.
    """
    encoding, length = encoding_of(data[:4])
    unmarked = None if length else _unmarked(data[:2])
    if unmarked is not None:
        raise BadInputError(f"{source} seems to be {unmarked} without a byte-order mark; save it as UTF-8")
    try:
        return data[length:].decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper().removesuffix("-LE").removesuffix("-BE")
        says = f"says by its byte-order mark that it is {name}, and is not" if length else "is not UTF-8"
        raise BadInputError(f"{source} {says} (byte {length + error.start + 1}); save it as UTF-8") from None


def _unmarked(start: bytes) -> str | None:
    """UTF-16 without a mark is valid UTF-8 as long as it is Latin: every second byte is 0."""
    if len(start) == 2 and start[0] and not start[1]:
        return "UTF-16 (little-endian)"
    if len(start) == 2 and not start[0] and start[1]:
        return "UTF-16 (big-endian)"
    return None
