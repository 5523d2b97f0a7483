"""A JSON array read element by element: one that holds an hour is larger than memory should be.

Does not belong here: what the elements are (``records``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

from yolo_assets.contracts.errors import BadInputError

BLANK = " \t\r\n"
"""White space of JSON."""
_CHUNK = 1 << 20


def array_elements(text: IO[str], longest: int) -> Iterator[tuple[str, Any]]:
    """The elements of an array, each as it is written and as parsed.

    Args:
        text: at its start; strict about its encoding.
        longest: characters of an element beyond which it is not read.

    Raises:
        BadInputError: no text in its encoding, no JSON, or an element that is too long. What came before was yielded.
    """
    window = _Window(text)
    decoder = json.JSONDecoder()
    if window.next() != "[":
        raise BadInputError("it is no list")
    window.skip()
    if window.next() == "]":
        window.end()
        return
    while True:
        window.next()
        while True:
            try:
                value, end = decoder.raw_decode(window.text, window.place)
                break
            except (json.JSONDecodeError, RecursionError):
                if len(window.text) - window.place > longest:
                    raise BadInputError(f"an element that is no JSON, or longer than {longest} characters") from None
                if not window.more():
                    raise BadInputError("an element that is no JSON, or the file is cut off") from None
        yield window.text[window.place : end], value
        window.place = end
        after = window.next()
        if after == "]":
            window.end()
            return
        if after != ",":
            raise BadInputError("',' is missing after an element, or the file is cut off")
        window.skip()


class _Window:
    """The part of a text that is being looked at."""

    def __init__(self, stream: IO[str]) -> None:
        self.text = ""
        self.place = 0
        self._stream = stream

    def next(self) -> str:
        """The next character that is not white space; ``""`` at the end."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in BLANK:
                self.place += 1
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more():
                return ""

    def skip(self) -> None:
        """Pass the character that ``next`` showed."""
        self.place += 1

    def end(self) -> None:
        """Pass the character that ``next`` showed, which must be the last one."""
        self.skip()
        if self.next():
            raise BadInputError("the list ends before the file does")

    def more(self) -> bool:
        """Read on; False at the end."""
        try:
            read = self._stream.read(_CHUNK)
        except UnicodeDecodeError:
            raise BadInputError("it is not UTF-8; save it as UTF-8") from None
        self.text, self.place = self.text[self.place :] + read, 0
        return bool(read)
