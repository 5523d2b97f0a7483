"""An attacker who can write to the store, and has no key, changes nothing unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.names import channel_history_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.registry import Registry
from yolo_assets.storage import ObjectStore
from yolo_assets_tests.models.release_support import (
    POINTER,
    POINTER_FILES,
    put_back,
    save,
    write,
)
from yolo_assets_tests.models.test_channels import promote, rollback, serving


def test_an_old_pointer_put_back_never_makes_numbers_repeat(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(folder, "1", "2", "3")
    promote(folder, signer, "1")
    old = save(folder, *POINTER_FILES)
    accepted = promote(folder, signer, "2").release
    put_back(folder, old)
    replayed = serving(folder, trusted)  # its signature is good, and always will be
    assert replayed.release < accepted
    assert promote(folder, signer, "3").release == accepted + 1
    for key in old:
        folder.delete(key)
    assert promote(folder, signer, "1").release == accepted + 2


@pytest.mark.parametrize(
    ("field", "value"), [("version", "2"), ("release", 99), ("manifest_sha256", "0" * 64), ("channel", "canary")]
)
def test_a_changed_pointer_is_refused(store: ObjectStore, signer: Signer, trusted: TrustedKeys, field: str, value: Any):
    write(store, "1", "2")
    promote(store, signer, "1")
    store.put(POINTER, orjson.dumps(orjson.loads(store.get(POINTER)) | {field: value}))
    with pytest.raises(SignatureError, match="changed or never released"):
        serving(store, trusted)
    with pytest.raises(SignatureError, match="changed or never released"):
        promote(store, signer, "2")
    recovered = promote(store, signer, "2", replace_untrusted=True)
    assert recovered.release == 2
    assert serving(store, trusted) == recovered


def test_a_pointer_of_another_channel_is_refused(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(folder, "1", "2")
    promote(folder, signer, "1")
    promote(folder, signer, "2", "canary")
    for key in POINTER_FILES:
        folder.put(key, folder.get(key.replace("stable", "canary")))
    with pytest.raises(BadInputError, match="is the pointer of line/canary"):
        Registry(folder, trusted).channel("line", "stable").pointer()


def test_untrusted_history_is_shown_and_does_not_count(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(folder, "1", "2")
    promote(folder, signer, "1")
    good = folder.get(channel_history_key("line", "stable", 1))
    junk = {
        channel_history_key("line", "stable", 2): b"not json",
        channel_history_key("line", "stable", 3): b"[]",
        channel_history_key("line", "stable", 500): good,
        channel_history_key("line", "stable", 501): orjson.dumps(orjson.loads(good) | {"payload": "e30="}),
        channel_history_key("line", "stable", 502): orjson.dumps(orjson.loads(good) | {"signatures": [{"value": 1}]}),
    }
    put_back(folder, junk)
    assert promote(folder, signer, "2").release == 4  # 2 and 3 are taken, 500 is none
    past = Registry(folder, trusted).channel("line", "stable").history()
    assert set(past.rejected) == set(junk)
    assert [r.entry.pointer.release for r in past.releases] == [1, 4]


def test_a_key_is_changed_by_trusting_both_for_a_while(folder: ObjectStore, signer: Signer, tmp_path: Path):
    write(folder, "1", "2")
    promote(folder, signer, "1")
    fresh = Signer.load_or_create(tmp_path / "fresh")
    with pytest.raises(SignatureError, match="not trusted"):
        promote(folder, fresh, "2")
    both = TrustedKeys.of(signer, fresh)
    assert promote(folder, fresh, "2", trusted=both).release == 2
    assert serving(folder, TrustedKeys.of(fresh)).version == "2"
    assert [r.state for r in Registry(folder, both).channel("line", "stable").history().releases] == [
        "served",
        "serving",
    ]
    # Back to a version that only the old key had signed: it is signed again.
    assert rollback(folder, fresh, trusted=both).version == "1"
    assert serving(folder, TrustedKeys.of(fresh)).version == "1"
