"""Messages as receivers get them, from real servers on loopback; and a URL, which is a secret, in no error.

The plug-ins for DingTalk, WeCom and Slack itself send to fixed public hosts: for them the host alone is replaced.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from yolo_assets.alerts.receivers import OpenReceiver
from yolo_assets.alerts.state import Message
from yolo_assets.contracts.alerting import Receiver
from yolo_assets.contracts.errors import BadInputError
from yolo_assets_tests.support.listeners import Post, Web, post, web

MESSAGE = Message(
    number=1,
    receiver="night",
    news="new",
    title="lineA_cam03 sends no frames",
    body="lineA_cam03: No frame since 2026-03-02 03:00 UTC. Check <power> & cable. https://ui.plant/assets/today",
    made_at=datetime(2026, 3, 2, 6, tzinfo=UTC),
)
TOKEN = "d34db33f" * 4


@pytest.fixture
def server() -> Iterator[Web]:
    with web() as kept:
        yield kept


@pytest.fixture
def mail() -> Iterator[Post]:
    with post() as kept:
        yield kept


def opened(url: str, tmp_path: Path) -> OpenReceiver:
    (tmp_path / "url").write_text(f"{url}\n")
    return OpenReceiver.of("night", Receiver(url_file=tmp_path / "url"))


@pytest.mark.parametrize(("news", "kind"), [("new", "failure"), ("still", "warning"), ("resolved", "success")])
def test_a_webhook_gets_title_sentence_link_and_kind(server: Web, tmp_path: Path, news: str, kind: str) -> None:
    receiver = opened(f"json://127.0.0.1:{server.port}/alerts", tmp_path)
    assert receiver.send(MESSAGE.model_copy(update={"news": news})) is None
    ((path, document),) = server.requests
    assert path.rstrip("/") == "/alerts" and document["type"] == kind
    assert (document["title"], document["message"]) == (MESSAGE.title, MESSAGE.body)


def test_a_chat_server_that_speaks_slacks_format(server: Web, tmp_path: Path) -> None:
    assert opened(f"mmost://127.0.0.1:{server.port}/{TOKEN}", tmp_path).send(MESSAGE) is None
    ((path, document),) = server.requests
    assert path == f"/hooks/{TOKEN}"
    assert MESSAGE.title in document["text"] and "https://ui.plant/assets/today" in document["text"]


def test_mail_comes_with_subject_and_plain_text(mail: Post, tmp_path: Path) -> None:
    url = f"mailto://localhost:{mail.port}?smtp=127.0.0.1&from=plant@example.com&to=night@example.com"
    assert opened(url, tmp_path).send(MESSAGE) is None
    (letter,) = mail.letters
    assert (letter["Subject"], letter["To"]) == (MESSAGE.title, "night@example.com")
    text = letter.get_payload(decode=True)
    assert isinstance(text, bytes) and MESSAGE.body in text.decode()


@pytest.mark.parametrize(
    ("url", "plugin", "where", "words"),
    [
        (f"dingtalk://{TOKEN}", "dingtalk.NotifyDingTalk", "notify_url", ("text", "content")),
        (f"wecombot://{TOKEN}abcd", "wecombot.NotifyWeComBot", "notify_url", ("text", "content")),
        (
            "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#night",
            "slack.NotifySlack",
            "webhook_url",
            ("attachments", 0, "text"),
        ),
    ],
)
def test_chat_services_get_the_sentence(
    server: Web,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    plugin: str,
    where: str,
    words: tuple[str | int, ...],
) -> None:
    module, _, name = plugin.partition(".")
    found = getattr(importlib.import_module(f"apprise.plugins.{module}"), name)
    public = getattr(found, where)
    assert public.startswith("https://") and "/" in public.removeprefix("https://")
    local = f"http://127.0.0.1:{server.port}/{public.removeprefix('https://').partition('/')[2]}"
    monkeypatch.setattr(found, where, local)
    assert opened(url, tmp_path).send(MESSAGE) is None
    ((_, document),) = server.requests
    for word in words:
        document = document[word]
    assert "No frame since 2026-03-02 03:00 UTC" in document


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_refusal_is_told_without_the_secret(
    server: Web, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = status
    receiver = opened(f"json://operator:{TOKEN}@127.0.0.1:{server.port}/{TOKEN}?+X-Key={TOKEN}", tmp_path)
    with caplog.at_level(logging.DEBUG):
        error = receiver.send(MESSAGE)
    assert error and str(status) in error and "\n" not in error
    assert TOKEN not in f"{error} {receiver!r}", "neither in the error nor in what a traceback would show"
    assert not [record for record in caplog.records if TOKEN in record.getMessage() and record.levelno > logging.DEBUG]


def test_a_receiver_that_is_away_is_one_line(tmp_path: Path) -> None:
    error = opened("json://127.0.0.1:9/x", tmp_path).send(MESSAGE)
    assert error and "onnection" in error


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty or not set"),
        (f"no-such-service://{TOKEN}", "is not one apprise URL"),
        (f"https://user:{TOKEN}@", "is not one apprise URL"),
        (f"json://a/{TOKEN} json://b/{TOKEN}", "more than one word"),
        (f"json://a/{TOKEN},json://b/{TOKEN}", "is not one apprise URL"),
    ],
)
def test_a_url_that_is_none_is_refused_without_being_shown(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadInputError, match=says) as caught:
        opened(text, tmp_path)
    assert TOKEN not in str(caught.value) and "alerts.receivers.night" in str(caught.value)


def test_a_url_comes_from_the_environment_too(server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHT", f"json://127.0.0.1:{server.port}/x")
    assert OpenReceiver.of("night", Receiver(url_variable="NIGHT")).send(MESSAGE) is None
    monkeypatch.delenv("NIGHT")
    with pytest.raises(BadInputError, match="the variable NIGHT is empty or not set"):
        OpenReceiver.of("night", Receiver(url_variable="NIGHT"))
    with pytest.raises(BadInputError, match="cannot be read"):
        OpenReceiver.of("night", Receiver(url_file=Path("/nowhere/url")))
