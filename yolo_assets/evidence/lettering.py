"""Letters: which font file has which character, and pictures of short texts.

DejaVu comes with the package: Latin, Greek, Cyrillic, Hebrew, Arabic. Every other script is taken from fonts of this
machine, or from those that the setting ``fonts`` names. A character that no font has is kept in ``missing`` and
written as its code point, ``[U+710A]``: never dropped, and never an empty box.

Belongs here: finding fonts and setting one line of text. Does not belong here: pages (``pdf``, ``report``) and where a
label goes in a picture (``drawing``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fontTools.ttLib import TTCollection, TTFont, TTLibError
from PIL import Image, ImageDraw, ImageFont

from yolo_assets.contracts.errors import BadInputError

SYSTEM_FONTS = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path("~/.local/share/fonts"),
    Path("~/.fonts"),
    Path("/System/Library/Fonts"),
    Path("/Library/Fonts"),
    Path("C:/Windows/Fonts"),
)
"""Where fonts lie on Linux, macOS and Windows."""

_OWN = Path(__file__).parent / "fonts"
REGULAR, BOLD, MONO = _OWN / "DejaVuSans.ttf", _OWN / "DejaVuSans-Bold.ttf", _OWN / "DejaVuSansMono.ttf"
_ENDINGS = (".ttf", ".otf", ".ttc", ".otc")
_NEEDED = {"cmap", "head", "hhea", "hmtx", "maxp", "name", "OS/2", "post"}
_OUTLINES, _BITMAPS = {"glyf", "CFF "}, {"CBDT"}
_BITMAP_SIZE = 109
"""The one size, in pixels, of colour bitmaps in Noto's format."""
UNSEEN = {0x200C, 0x200D, *range(0xFE00, 0xFE10)}
"""Joiners and variation selectors: they shape their neighbours and have no form of their own."""

_UNREADABLE = (TTLibError, OSError, ValueError, KeyError, AttributeError, AssertionError, EOFError)
"""What fontTools raises at a damaged font."""

# By the first word of a character's Unicode name: what the names of fonts for it hold, and Debian's package.
_CJK = ("notosanscjk", "notosanssc", "sourcehansans", "wqy", "droidsansfallback", "msyh", "simhei", "pingfang")
_EMOJI = ("symbola", "notoemoji", "notocoloremoji")
_STYLES = re.compile(r"bold|italic|oblique|black|thin|light|medium|semi|extra|condensed|serif|mono|kufi|looped|ui")


@dataclass(frozen=True)
class FontFace:
    """One face of a font file.

    Attributes:
        path: the file.
        number: which face of a collection.
        characters: code points that it has.
        colour: it holds bitmaps in colour instead of outlines.
    """

    path: Path
    number: int
    characters: frozenset[int]
    colour: bool

    @property
    def bold(self) -> Path:
        """The bold file that belongs to it; itself where there is none."""
        beside = self.path.with_name(re.sub(r"Regular|(?<=[a-z])(?=\.\w+$)", "Bold", self.path.name, count=1))
        return beside if beside.is_file() else self.path

    def sized(self, pixels: int) -> ImageFont.FreeTypeFont:
        """The face for drawing pictures."""
        return ImageFont.truetype(str(self.path), _BITMAP_SIZE if self.colour else pixels, index=self.number)


class Fonts:
    """The fonts of one pack, found as characters ask for them.

    Attributes:
        missing: characters that were asked for and that no font has, in the order of their code points.
    """

    def __init__(self, places: Sequence[Path] = ()) -> None:
        """Look in these places.

        Args:
            places: font files and folders, searched to any depth; without any, the folders of the system.

        Raises:
            BadInputError: a place that was named is not there, or a file that was named is no font.
        """
        for place in places:
            if not place.exists():
                raise BadInputError(f"there is no font file or folder {place}; correct YOLO_ASSETS_FONTS")
            if place.is_file() and _face(place) is None:
                raise BadInputError(f"{place} is not a TrueType or OpenType font that may be embedded")
        self._places = tuple(places) or tuple(place.expanduser() for place in SYSTEM_FONTS)
        own = _face(REGULAR)
        assert own is not None
        self._own = own
        self._faces: dict[str, FontFace | None] = {}
        self._candidates: list[Path] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """See the class."""
        return tuple(sorted(char for char, face in self._faces.items() if face is None and ord(char) not in UNSEEN))

    @property
    def used(self) -> dict[FontFace, list[str]]:
        """Faces beside our own that were needed so far, with their characters in order."""
        used: dict[FontFace, list[str]] = {}
        for char, face in sorted(self._faces.items()):
            if face is not None and face is not self._own:
                used.setdefault(face, []).append(char)
        return used

    def face(self, char: str) -> FontFace | None:
        """The face that has a character; None when there is none on this machine."""
        if char not in self._faces:
            self._faces[char] = self._found(char)
        return self._faces[char]

    def shown(self, text: str) -> str:
        """The text with characters that no font has written as code points, like ``[U+710A U+7F1D]``."""
        pieces: list[str] = []
        lacking: list[str] = []
        for char in [*text, ""]:
            if char and self.face(char) is None:
                if ord(char) not in UNSEEN:
                    lacking.append(f"U+{ord(char):04X}")
                continue
            if lacking:
                pieces.append(f"[{' '.join(lacking)}]")
                lacking = []
            pieces.append(char)
        return "".join(pieces)

    def runs(self, text: str) -> list[tuple[FontFace, str]]:
        """A shown text in pieces of one face each; blanks and marks stay with what stands before them."""
        runs: list[tuple[FontFace, str]] = []
        for char in self.shown(text):
            face = self.face(char) or self._own
            if runs and (face is runs[-1][0] or (_leans(char) and ord(char) in runs[-1][0].characters)):
                runs[-1] = (runs[-1][0], runs[-1][1] + char)
            else:
                runs.append((face, char))
        return runs

    def picture(self, text: str, pixels: int, colour: tuple[int, int, int]) -> Image.Image:
        """One line of text, RGBA on nothing, as high as the tallest of its faces.

        Args:
            text: at least one character; right-to-left and joined scripts are shaped within each face.
            pixels: size of the letters.
            colour: red, green, blue.
        """
        pieces = [self._piece(face, piece, pixels, colour) for face, piece in self.runs(text)]
        ascent = max(rise for _, rise in pieces)
        height = ascent + max(piece.height - rise for piece, rise in pieces)
        line = Image.new("RGBA", (max(1, sum(piece.width for piece, _ in pieces)), max(1, height)))
        x = 0
        for piece, rise in pieces:
            line.paste(piece, (x, ascent - rise))
            x += piece.width
        return line

    @staticmethod
    def _piece(face: FontFace, text: str, pixels: int, colour: tuple[int, int, int]) -> tuple[Image.Image, int]:
        """A piece of one face, and how much of it lies above the line."""
        font = face.sized(pixels)
        ascent, descent = font.getmetrics()
        piece = Image.new("RGBA", (max(1, round(font.getlength(text))), ascent + descent))
        ImageDraw.Draw(piece).text((0, ascent), text, font=font, fill=colour, anchor="ls", embedded_color=face.colour)
        if face.colour:
            scale = 1.2 * pixels / piece.height
            piece = piece.resize((max(1, round(piece.width * scale)), max(1, round(piece.height * scale))))
            ascent = round(ascent * scale)
        return piece, ascent

    def _found(self, char: str) -> FontFace | None:
        if ord(char) in self._own.characters:
            return self._own
        if ord(char) in UNSEEN:
            return None
        if self._candidates is None:
            self._candidates = sorted(_files(self._places), key=lambda path: (path.name, path))
        hints = _hints(char)
        ranked = sorted(self._candidates, key=lambda path: _rank(path, hints))
        faces = (_face(path) for path in ranked)
        return next((face for face in faces if face is not None and ord(char) in face.characters), None)


def packages(characters: Iterable[str]) -> list[str]:
    """Debian's packages with fonts for these characters."""
    return sorted({_package(char) for char in characters} - {""})


def _package(char: str) -> str:
    if unicodedata.category(char) in ("Co", "Cn"):
        return ""  # of private use or not assigned: nobody's font has it
    if _hints(char) is _CJK:
        return "fonts-noto-cjk"
    return "fonts-noto-color-emoji" if _hints(char) is _EMOJI else "fonts-noto-core"


def _hints(char: str) -> tuple[str, ...]:
    """What the names of fonts for a character hold, the best first."""
    word = unicodedata.name(char, "").partition(" ")[0].partition("-")[0]
    wide = unicodedata.east_asian_width(char) in ("W", "F")
    if ord(char) >= 0x1F000 and word != "CJK":
        return _EMOJI
    if wide or word in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH"):
        return _CJK
    return (f"notosans{word.lower()}", "notosans", "notosanssymbols")


def _rank(path: Path, hints: tuple[str, ...]) -> tuple[int, int, str]:
    stem = re.sub(r"[^a-z0-9]", "", path.stem.lower())
    place = next((number for number, hint in enumerate(hints) if stem.startswith(hint)), len(hints))
    return place, len(_STYLES.findall(stem.replace("notosans", ""))), path.name


def _leans(char: str) -> bool:
    return char == " " or ord(char) in UNSEEN or unicodedata.category(char).startswith("M")


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        found = [place] if place.is_file() else place.rglob("*") if place.is_dir() else ()
        yield from (path for path in found if path.suffix.lower() in _ENDINGS)


@lru_cache(maxsize=1024)
def _face(path: Path) -> FontFace | None:
    """The face of a font file, of a collection the Chinese one; None when it is damaged or must not be embedded."""
    try:
        number = _chinese(path) if path.suffix.lower() in (".ttc", ".otc") else 0
        with TTFont(path, fontNumber=number, lazy=True) as font:
            tables = set(font.keys())
            outlines = bool(tables & _OUTLINES)
            restricted = "OS/2" in tables and getattr(font["OS/2"], "fsType", 0) & 0xF == 2
            if not tables >= _NEEDED or not (outlines or tables & _BITMAPS) or restricted:
                return None
            return FontFace(path, number, frozenset(font.getBestCmap() or ()), not outlines)
    except _UNREADABLE:
        return None


def _chinese(path: Path) -> int:
    """Which face of a collection has the forms of simplified Chinese; the first one when none says so."""
    with TTCollection(path, lazy=True) as collection:
        names = [str(font["name"].getDebugName(4)) for font in collection.fonts]
    return next((number for number, name in enumerate(names) if re.search(r"\bSC\b|Simplified", name)), 0)
