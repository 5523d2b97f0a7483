"""The sentences of a pack: the HTML page, the PDF and VERIFY.txt use the same ones.

Belongs here: sentences. Does not belong here: layout. Text from outside (names, reasons) goes through ``plain`` first:
nothing in it can hide or reverse the text around it.
"""

from __future__ import annotations

from datetime import datetime
from textwrap import wrap

from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import format_time
from yolo_assets.evidence.manifest import MANIFEST, SIGNATURE, SUMS, PackCounts, PackManifest, Query
from yolo_assets.evidence.signing import CONTEXT


def when(moment: datetime | None, hour: str = "") -> str:
    """``2026-01-02 03:04:05.678 UTC``."""
    if moment is None:
        return f"{hour[:4]}-{hour[4:6]}-{hour[6:8]}, hour {hour[9:]} UTC; the producer gave no exact time"
    return format_time(moment).replace("T", " ").replace("Z", " UTC")


def size(count: int) -> str:
    """``1,234 bytes``."""
    return f"{count:,} bytes"


def many(count: int, singular: str, plural: str = "") -> str:
    """``1 frame``, ``2 frames``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def question(query: Query) -> str:
    """The question as a sentence."""
    camera = f"camera {plain(query.camera_id)}" if query.camera_id else "any camera"
    text = f"Which frames did {camera} take from {when(query.start)} until {when(query.end)}"
    if query.batch is not None:
        text += f" of production batch {plain(query.batch)}"
    if query.class_name is not None and query.min_confidence is not None:
        text += f", with a detection of {plain(query.class_name)} at a confidence of {query.min_confidence:g} or more"
    elif query.class_name is not None:
        text += f", with a detection of {plain(query.class_name)}"
    elif query.min_confidence is not None:
        text += f", with a detection at a confidence of {query.min_confidence:g} or more"
    return text + "?"


def answer(counts: PackCounts) -> str:
    """The answer as a sentence."""
    text = (
        f"{many(counts.frames, 'frame')} with {many(counts.records, 'record')} and "
        f"{many(counts.detections, 'detection')}"
    )
    if counts.fitting is not None:
        text += f", {counts.fitting:,} of which meet the question"
    text += f". They come out of {many(counts.archives, 'archive')}."
    if counts.without_picture:
        text += f" For {many(counts.without_picture, 'finding')} more the record was kept, but not the picture."
    return text


def not_found(pack: PackManifest) -> list[str]:
    """What the question touches and the pack cannot show; empty when there is nothing of that kind."""
    lines = [
        f"{hour.camera_id}, hour {hour.hour}: not available. {plain(hour.reason or '')}"
        for hour in pack.hours
        if hour.state == "unavailable"
    ]
    lines += [f"{when(gap.start)} until {when(gap.end)}: no archive of this camera." for gap in pack.gaps]
    if pack.counts.without_picture:
        lines.append(
            f"{many(pack.counts.without_picture, 'finding')} without a picture: the device kept only the record. "
            "findings.ndjson names them."
        )
    if pack.counts.not_drawable:
        lines.append(
            f"{many(pack.counts.not_drawable, 'frame')} whose archived bytes are not a readable picture: no drawn copy."
        )
    if left_out := sum(hour.left_out for hour in pack.hours):
        lines.append(f"{many(left_out, 'record file')} of other frames in these hours: not needed, not included.")
    return lines


def searched(pack: PackManifest) -> str:
    """How the hours were searched."""
    states = [hour.state for hour in pack.hours]
    text = f"{many(len(states), 'archived camera-hour')} in question: {states.count('searched')} searched"
    if count := states.count("excluded"):
        text += f", {count} excluded because their signed receipts show that nothing in them matches"
    if count := states.count("unavailable"):
        text += f", {count} not available"
    return text + f". Found by {plain(pack.found_by)}."


CUSTODY = (
    (
        "At the camera.",
        "The edge device wrote each picture as a file, and one line about it into a record file, for the hour in which "
        "it was taken. Until the hour was archived, those files were on the device's disk.",
    ),
    (
        "Into the archive.",
        "The archiver computed the SHA-256 of every file, packed the hour into one archive, and noted each file and "
        "its hash in a member index. When the store had confirmed the archive, it wrote a receipt with the hash "
        "of the index and signed it. Archives, indexes and receipts are never changed afterwards.",
    ),
    (
        "Into this pack.",
        "The files in frames/, records/, indexes/ and receipts/ are those bytes, untouched. So a frame leads to its "
        "row in the index, the index to its receipt, and the receipt to a signature. The pictures in annotated/ and in "
        "this report are drawn copies: boxes and labels were added from the records. They are an aid to the eye; the "
        "files in frames/ are the evidence.",
    ),
    (
        "Since then.",
        "manifest.json lists every file of the pack with its hash and is itself signed. Any byte that differs, is "
        "missing or was added since is found by the check below.",
    ),
)

PROVES = (
    "This pack is, byte for byte, what the holder of the pack's key put together at the time named on the cover.",
    "Each frame and each record is, byte for byte, what the holder of the archiver's key archived for that camera and "
    "hour.",
    "In the hours searched, nothing that matches was left out: the check answers the question again from the archived "
    "records and compares.",
)

DOES_NOT_PROVE = (
    "That the clock of the camera or of the archiver was right. No independent time stamp is part of the signature.",
    "That the model was right. Class and confidence are what the model named in the record reported.",
    "What happened to a file before the archiver read it.",
    "That the private keys stayed private. Anyone who had them could have signed other content; compare the key ids "
    "with those that the plant published at the time.",
    "That archives which the question does not touch, or which are named as missing, hold nothing that matters.",
)


def how_to_verify(pack: PackManifest) -> list[tuple[str, list[str]]]:
    """Steps, each with its commands."""
    keys = " ".join(f"--key {key}.pub" for key in dict.fromkeys((pack.signed_by, *pack.receipts_signed_by)))
    context = CONTEXT.decode().replace("\n", "\\n")
    return [
        (
            "With yolo-assets, on any computer, without network. Give the public keys that you received from the plant "
            "in a way other than this pack; the copies in keys/ are there to be compared, not to be trusted.",
            [f"yolo-assets evidence verify DIR {keys}"],
        ),
        (
            f"Without it: the signature of {MANIFEST}, with OpenSSL 3, in the folder of the pack.",
            [
                f"printf '{context}' | cat - {MANIFEST} > /tmp/signed",
                f"openssl pkeyutl -verify -pubin -inkey {pack.signed_by}.pub -rawin -in /tmp/signed "
                f"-sigfile {SIGNATURE}",
            ],
        ),
        (
            f"Then every file: {SUMS} names them all, and its own hash is in {MANIFEST}.",
            [
                f"sha256sum --check --strict --quiet {SUMS}",
                f"sha256sum {SUMS}",
                f'grep -A1 \'"path": "{SUMS}"\' {MANIFEST}',
            ],
        ),
    ]


def howto_text(pack: PackManifest) -> str:
    """``VERIFY.txt``."""
    lines = ["How to check this evidence pack", ""]
    for text, commands in how_to_verify(pack):
        lines += [*_wrapped(text), "", *(f"    {command}" for command in commands), ""]
    lines += [
        *_wrapped(
            "Then from a frame to its signature: the SHA-256 of a file in frames/ or records/ is in the row of its "
            "name in indexes/ (Parquet); the SHA-256 of that index is in its receipt as index_sha256; and the "
            "receipt's field signature is Ed25519 over the canonical JSON (sorted keys, no white space, UTF-8) of the "
            "receipt without that field."
        ),
        "",
        "What the signatures prove",
        "",
    ]
    for text in PROVES:
        lines += _wrapped(text, "  - ")
    lines += ["", "What they do not prove", ""]
    for text in DOES_NOT_PROVE:
        lines += _wrapped(text, "  - ")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, first: str = "") -> list[str]:
    return wrap(text, 100, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)
