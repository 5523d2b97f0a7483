"""Store URLs: what they name, and the one line for each that does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.contracts.locations import parse_file_url
from yolo_assets.storage import StoreUnavailableError, open_store
from yolo_assets.storage.keys import check_key, check_prefix, key_problem
from yolo_assets.storage.open import parse_s3_url

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(parts=st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4))
def test_a_path_survives_its_url(parts: list[str]) -> None:
    path = Path("/", *parts)
    assert parse_file_url(path.as_uri()) == path
    assert parse_file_url(path.as_uri().replace("file://", "file://localhost")) == path


def test_s3_urls_are_taken_literally() -> None:
    assert parse_s3_url("s3://bucket") == ("bucket", "")
    assert parse_s3_url("s3://bucket/") == ("bucket", "")
    assert parse_s3_url("s3://my.bucket-1/a/b%20c/") == ("my.bucket-1", "a/b%20c")


@pytest.mark.parametrize(
    "url",
    [
        "", "/srv/store", "store", "http://host/bucket", "gs://bucket", "file://var/store", "file://", "file:///a?b",
        "file:///a#b", "file:///a/../b", "file:///a%00b", "file:///%ff", "s3://", "s3:///prefix", "s3://b", "s3://-bucket",
    ],
)  # fmt: skip
def test_other_urls_are_refused_in_one_line(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert "\n" not in str(caught.value)


def test_a_plain_path_is_answered_with_its_url() -> None:
    with pytest.raises(UsageError, match="file:///srv/my%20store"):
        open_store("/srv/my store")


@pytest.mark.parametrize("url", ["s3://AKIA123:hunter2@bucket/x", "s3://hunter2@bucket", "ftp://hunter2@host/x"])
def test_a_secret_in_a_url_is_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_a_root_is_made_but_not_its_parents(tmp_path: Path) -> None:
    open_store((tmp_path / "new root").as_uri()).put("k", b"1")
    assert (tmp_path / "new root" / "k").read_bytes() == b"1"
    (tmp_path / "file").write_text("")
    for bad in ("missing/store", "file", "file/store"):
        with pytest.raises(StoreUnavailableError, match="not a folder") as caught:
            open_store((tmp_path / bad).as_uri())
        assert "\n" not in str(caught.value) and not caught.value.transient
    assert not (tmp_path / "missing").exists()


def test_a_folder_needs_no_boto3(tmp_path: Path) -> None:
    code = (
        "import sys, yolo_assets.storage as s; s.open_store(sys.argv[1]).put('k', b''); print('boto3' in sys.modules)"
    )
    url = (tmp_path / "store").as_uri()
    ran = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "False"


@given(st.text(max_size=20))
def test_a_legal_key_has_only_legal_beginnings(text: str) -> None:
    if key_problem(text) is None:
        assert check_key(text) == text
        assert not text.startswith("/") and ".." not in text.split("/") and "" not in text.split("/")
        for end in range(len(text) + 1):
            assert check_prefix(text[:end]) == text[:end]
    else:
        with pytest.raises(BadInputError):
            check_key(text)


@pytest.mark.parametrize("prefix", ["/", "a//", "../a", "a/../b", "a\\b", ".yolo_store/"])
def test_prefixes_of_no_key(prefix: str) -> None:
    with pytest.raises(BadInputError):
        check_prefix(prefix)
