"""Locations: what is ours is read, and everything else is refused with the line that helps, never made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.contracts.locations import location_folder, location_url, parse_file_url
from yolo_assets.contracts.settings import Settings
from yolo_assets.edge.config.agent import load_config

REFUSED = {
    "C:\\arch": "path of Windows",
    "D:/arch": "path of Windows",
    "c:arch": "path of Windows",
    "Ｃ:\\arch": "backslash",
    "file:///C:/arch": "path of Windows",
    "file:///C|/arch": "path of Windows",
    "file://C:/arch": "path of Windows",
    "file:\\\\nas\\share": "backslash",
    "\\\\nas\\share": "name of a share",
    "\\\\?\\C:\\arch": "name of a share",
    "//nas/share": "name of a share",
    "file:////nas/share": "name of a share",
    "file://nas/share": "mount it",
    "nas:/export": "mount it",
    "user@nas:/export": "mount it",
    "smb://nas/share": "mount it",
    "nfs://nas/share": "mount it",
    "arch\\2026": "backslash",
    "~": "only the shell knows '~'",
    "~/arch": "only the shell knows '~'",
    "~ann/arch": "only the shell knows '~'",
    "$HOME/arch": "variable",
    "/data/${PLANT}/arch": "variable",
    "%USERPROFILE%/arch": "variable",
    "http:": "is not a store",
    "http://host/bucket": "is not a store",
    "https://bucket.s3.amazonaws.com/x": "is not a store",
    "gs:": "is not a store",
    "gs://bucket/x": "is not a store",
    "az://bucket/x": "is not a store",
    "s3a://bucket/x": "write s3://",
    "S3://bucket/x": "write s3://",
    "FILE:///srv": "write file://",
    "s3:/bucket": "not complete",
    "s3:bucket": "not complete",
    "S3:bucket": "not complete",
    "file:/srv/arch": "not complete",
    "s3//bucket/x": "lacks the ':'",
    "s3：//bucket/x": "not complete",
    "arn:aws:s3:::bucket/x": "is not a store",
    " s3://bucket/x": "begins or ends with a blank",
    "s3://bucket/x ": "begins or ends with a blank",
    "/srv/arch\u3000": "begins or ends with a blank",
    "\ufeff/srv/arch": "invisible character",
    "/srv/arch\r": "control character",
    "/srv/\narch": "control character",
    '"/srv/arch"': "in quotes",
    "'s3://bucket/x'": "in quotes",
    "": "location is empty",
    "   ": "location is empty",
}


@pytest.mark.parametrize("text", REFUSED, ids=repr)
def test_what_is_no_location_of_ours_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as url:
        location_url(text)
    with pytest.raises(UsageError) as folder:
        location_folder(text)
    for caught in (url, folder):
        assert REFUSED[text] in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "beginning", ["C:\\", "d:/", "Z:", "\\\\", "//", "~", "$", "http:", "gs:", "S3://", "s3:/b", "\t", " ", "file:x"]
)
@given(tail=st.text(max_size=12))
def test_however_it_goes_on_it_is_refused(beginning: str, tail: str) -> None:
    for read in (location_url, location_folder):
        with pytest.raises(UsageError):
            read(beginning + tail)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_text_is_a_url_that_stays_as_it_is_or_refused(text: str) -> None:
    try:
        url = location_url(text)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    assert location_url(url) == url
    if text.startswith("s3://"):
        assert url == text
    else:
        folder = parse_file_url(url)
        assert folder.is_absolute()
        assert location_folder(text).absolute() == folder


DRIVE = re.compile(r"/[A-Za-z][:：|]")
"""A path that may be of Windows is refused; ``file:///C:/x`` and ``./C:`` are ways to write it."""
NAME = st.text(st.characters(exclude_characters="/\\", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@given(parts=st.lists(NAME.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4), base=NAME)
def test_an_absolute_path_is_taken_as_it_is(parts: list[str], base: str) -> None:
    path = "/" + "/".join(parts)
    if path != path.strip() or "${" in path or not path[-1].isprintable() or DRIVE.match(path):
        return
    assert parse_file_url(location_url(path)) == Path(path)
    assert parse_file_url(location_url("./" + path[1:], Path("/" + base))) == Path("/" + base + path)
    assert location_folder(Path(path).as_uri()) == Path(path)


def test_names_with_odd_characters_have_a_way_to_be_written() -> None:
    assert location_folder("./C:/x") == Path("C:/x")
    assert location_folder("./~") == Path("~")
    assert location_folder("file:///srv/a%5Cb") == Path("/srv/a\\b")
    assert location_folder("/数据/归档：一号线") == Path("/数据/归档：一号线")


@pytest.mark.parametrize(
    "text", ["s3:/KEY:hunter2@b/x", " s3://KEY:hunter2@b", "hunter2@nas:/x", "smb://u:hunter2@nas"]
)
def test_a_secret_in_a_refused_location_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        location_url(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["HOME", "SPOOL", "ARCHIVE", "STORE", "RUNTIME", "RECIPE", "GATE", "PLANT"])
def test_variables_are_read_by_the_same_rule(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("C:\\arch", "\\\\nas\\share", "~/x", "//nas/x", "S3://b", '"/srv/x"', "s3:/b", "/srv/x\r", " /srv/x"):
        with pytest.raises(UsageError, match=f"YOLO_ASSETS_{name}: "):
            Settings.from_env({f"YOLO_ASSETS_{name}": text})
    assert not list(tmp_path.iterdir())


def test_variables_take_paths_and_urls() -> None:
    taken = Settings.from_env({"YOLO_ASSETS_HOME": "file:///srv/h%20x", "YOLO_ASSETS_ARCHIVE": "/mnt/arch"})
    assert (taken.home, taken.archive_url) == (Path("/srv/h x"), "file:///mnt/arch")
    assert (taken.spool, taken.store_url) == (Path("/srv/h x/spool"), "file:///srv/h%20x/store")
    with pytest.raises(UsageError, match="is a bucket"):
        Settings.from_env({"YOLO_ASSETS_SPOOL": "s3://bucket/spool"})


@pytest.mark.parametrize("option", ["store", "spool"])
@pytest.mark.parametrize("text", ["C:\\arch", "\\\\nas\\share", "//nas/x", "gs://b", "s3:/b", " /srv/x", ""])
def test_the_agents_configuration_is_read_by_the_same_rule(option: str, text: str, tmp_path: Path) -> None:
    import json

    settings = {"device_id": "d", "spool": "spool", "store": "store", option: text}
    (tmp_path / "edge.yaml").write_text(json.dumps(settings))
    with pytest.raises(BadInputError, match=f"edge.yaml: {option}: "):
        load_config(tmp_path / "edge.yaml")


@pytest.mark.parametrize(
    "option", ["state", "archiver_home", "token_file", "trusted_keys", "path", "truth", "tls_cert"]
)
def test_every_path_of_the_agents_configuration_is(option: str, tmp_path: Path) -> None:
    import json

    settings: dict[str, object] = {"device_id": "d", "spool": "spool", "store": "store"}
    for text in ("C:\\agent", "\\\\nas\\x", "~ann/x", "$HOME/x", "s3://bucket/x", "/srv/x "):
        where: dict[str, object] = {
            "trusted_keys": {"trusted_keys": [text]},
            "path": {"cameras": [{"path": text}]},
            "truth": {"cameras": [{"truth": text}]},
            "tls_cert": {"listen": {"tls_cert": text}},
        }.get(option, {option: text})
        (tmp_path / "edge.yaml").write_text(json.dumps(settings | where))
        with pytest.raises(BadInputError, match=f"edge.yaml: {option}: "):
            load_config(tmp_path / "edge.yaml")
