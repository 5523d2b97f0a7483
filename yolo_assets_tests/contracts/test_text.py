import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.text import MARKS, decode_text, encoding_of, plain

# Python's own codecs write the marks: utf-8-sig as .NET's UTF8, utf-16 as PowerShell's Out-File.
_AS_WRITTEN = {
    "utf-8-sig": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16-be": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
    "gb18030": lambda text: ("\ufeff" + text).encode("gb18030"),
}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(sorted(_AS_WRITTEN)))
def test_text_is_read_by_its_mark(text: str, encoding: str) -> None:
    if encoding == "utf-16" and text.startswith("\0"):
        return  # the very bytes of the mark of UTF-32
    assert decode_text(_AS_WRITTEN[encoding](text), "x") == text


@given(st.binary(max_size=40))
def test_any_bytes_are_text_or_refused_by_name(data: bytes) -> None:
    try:
        text = decode_text(data, "labels/classes.txt")
    except BadInputError as error:
        assert "labels/classes.txt" in str(error) and str(error).endswith("save it as UTF-8")
    else:
        encoding, length = encoding_of(data[:4])
        assert text.encode(encoding) == data[length:] or encoding == "gb18030"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("Schweißnaht".encode("latin-1"), "is not UTF-8"),
        ("焊缝".encode("gbk"), "is not UTF-8"),
        ("crack".encode("utf-16-le"), "seems to be UTF-16"),
        ("crack".encode("utf-16-be"), "seems to be UTF-16"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", "says by its byte-order mark that it is UTF-16, and is not"),
        (codecs.BOM_UTF8 + b"\xff", "says by its byte-order mark that it is UTF-8, and is not"),
    ],
)
def test_other_encodings_are_named(data: bytes, says: str) -> None:
    with pytest.raises(BadInputError, match=rf"classes.txt {says}.*save it as UTF-8"):
        decode_text(data, "classes.txt")


def test_no_mark_hides_another() -> None:
    assert [encoding_of(mark)[0] for mark, _ in MARKS] == [name for _, name in MARKS]


@pytest.mark.parametrize(
    "text", ["", "crack", "焊缝裂纹", "🔥", "👨\u200d🔧", "🏳\ufe0f\u200d🌈", "می\u200cخواهم", "क्\u200dष"]
)
def test_what_is_seen_as_itself_is_shown_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize("text", ["a\u202eb", "cr\u200dack", "裂\u200d纹", "\u200d🔥", "🔥\u200d", "a\x1b[2J"])
def test_what_hides_or_turns_text_is_written_out(text: str) -> None:
    assert "\\" in plain(text) and plain(text).isprintable()
