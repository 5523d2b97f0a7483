"""Writing a validation pack: a folder with the record, its signature, the PDF, and the signed originals it quotes.

``validation.json`` is what is signed: ``validation.json.dsse`` is a DSSE envelope of promotion's key over its bytes,
and both are attached to ``validation.pdf``. The originals (manifest, gate report, proposal) carry their own signatures.
Does not belong here: what the pack says (``content``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from fpdf.enums import WrapMode

from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.model import MANIFEST, Interval
from yolo_assets.contracts.names import proposal_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import format_time
from yolo_assets.evidence.lettering import Fonts
from yolo_assets.evidence.pdf import Attachment, ReportPdf, about
from yolo_assets.models.bundle import StoredManifest
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectNotFoundError
from yolo_assets.validation.content import ClassOutcome, RuleOutcome, ValidationRecord, gate_report_key

RECORD, SIGNATURE, PAPER = "validation.json", "validation.json.dsse", "validation.pdf"


def write_pack(
    registry: Registry, stored: StoredManifest, record: ValidationRecord, signer: Signer, channel: str, out: Path
) -> None:
    """Write the folder: complete or not at all.

    Args:
        registry: for the originals.
        stored: manifest of the version.
        record: of ``content.collect``.
        signer: promotion's key.
        channel: whose proposal is taken.
        out: must not exist.

    Raises:
        BadInputError: ``out`` exists.
    """
    if out.exists():
        raise BadInputError(f"{out} exists already; choose a folder that does not")
    data = record.to_json()
    envelope = signer.seal(data, "validation-pack").to_json()
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        for name, content in (
            (RECORD, data),
            (SIGNATURE, envelope),
            (PAPER, paper(record, data, envelope, signer.key_id)),
            (MANIFEST, stored.data),
        ):
            (partial / name).write_bytes(content)
        manifest = stored.manifest
        for file, content in registry.manifest_signatures(manifest.name, manifest.version).items():
            (partial / file).write_bytes(content)
        for file, key in (
            ("gate.json", gate_report_key(manifest)),
            ("proposal.json", proposal_key(manifest.name, channel, manifest.version)),
        ):
            if key is None:
                continue
            try:
                (partial / file).write_bytes(registry.store.get(key))
            except ObjectNotFoundError:
                continue
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def verify_pack(folder: Path, trusted: TrustedKeys) -> ValidationRecord:
    """The record of a pack, its signature by a trusted key verified.

    Raises:
        SignatureError: not signed by one of these keys, or changed since.
        BadInputError: no pack.
    """
    try:
        data, envelope = (folder / RECORD).read_bytes(), (folder / SIGNATURE).read_bytes()
    except OSError as error:
        raise BadInputError(f"{folder} is no validation pack: {error.strerror} ({error.filename})") from None
    content = trusted.open_document(envelope, "validation-pack", SIGNATURE)
    if content.payload != data:
        raise SignatureError(f"{folder / RECORD} is not what was signed; it was changed")
    return ValidationRecord.from_json(data, RECORD)


def paper(record: ValidationRecord, data: bytes, envelope: bytes, key_id: str) -> bytes:
    """The record as pages, PDF/A-3u, with record and signature attached."""
    made = format_time(record.made_at)
    page = ReportPdf(Fonts(), f"Validation of {record.model_version}, made {made}, signed by key {key_id}")
    title = f"Validation of {record.model_version}"
    page.describe(
        title,
        "en",
        record.made_at,
        about(title, record.made_at, record.tool_version),
        (
            Attachment(RECORD, data, "application/json", "The same content for machines; this is what is signed."),
            Attachment(SIGNATURE, envelope, "application/json", "The signature, a DSSE envelope."),
        ),
    )
    page.add_page()
    page.headline(title)
    page.paragraph(
        "What is on record of one version of a model: what it is for, the data, the limits, the results, and who "
        "stands for it. Everything but the intended use is quoted from objects that are signed or named by their hash."
    )
    for label, text, mono in (
        ("Version", record.model_version, False),
        ("Made", f"{made} by {record.made_by}, yolo_assets {record.tool_version}", False),
        ("Origin", record.origin, False),
        ("Classes", ", ".join(record.class_names), False),
        ("Threshold", f"{record.confidence:g} (confidence from which it reports)", False),
        ("Manifest", record.manifest_sha256, True),
        ("Network file", record.onnx_sha256, True),
    ):
        page.fact(label, text, mono=mono)
    if record.gaps:
        page.heading("What is not shown")
        page.points(record.gaps)
    page.heading("1. Intended use")
    page.paragraph(record.intended_use)
    page.paragraph("Stated by the plant; nothing below extends it to other parts, cameras or light.")
    _data(page, record)
    _limits(page, record)
    _results(page, record)
    _approvals(page, record)
    page.heading("How to check it")
    page.paragraph(
        "validation.json is signed as DSSE: Ed25519 over its bytes, by the key of promotion. Take that public key from "
        "a person you trust, never out of this folder."
    )
    page.commands(["yolo-assets models validation --check FOLDER --trusted-key promotion.pub"])
    return bytes(page.output())


def _data(page: ReportPdf, record: ValidationRecord) -> None:
    page.heading("2. Data and its independence")
    data = record.data
    if data is None:
        page.paragraph("The data are not on record; see above.")
        return
    page.fact("Dataset", data.sha256, mono=True)
    head = ("split", "pictures", "boxes", "no object", "objects", "cameras", "first", "last")
    rows = [
        (
            split,
            str(facts.images),
            ", ".join(f"{name} {count}" for name, count in facts.boxes.items()) or "none",
            str(facts.backgrounds),
            "not known" if facts.objects is None else str(facts.objects),
            str(len(facts.cameras)),
            _minute(facts.first) if facts.first else "",
            _minute(facts.last) if facts.last else "",
        )
        for split, facts in data.splits.items()
    ]
    page.grid(head, rows, (4, 5, 10, 5, 5, 5, 9, 9), wrap=WrapMode.WORD)
    apart = data.independence
    closest = "not known: no capture times" if apart.closest_seconds is None else f"{apart.closest_seconds:g} s"
    page.points(
        [
            f"Test pictures whose bytes are in another split, too: {apart.same_pictures}.",
            f"Groups of near-duplicates in the test split and in another one: {apart.shared_groups}.",
            "Objects in the test split and in another one: "
            f"{'not known' if apart.shared_objects is None else apart.shared_objects}.",
            f"Shortest time between a test picture and one of another split, same camera: {closest}.",
            f"Test pictures of the frozen golden set: {apart.golden}.",
        ]
    )
    rows = [
        (one.file, _minute(one.imported_at) if one.imported_at else "", ", ".join(one.by), one.sha256[:16])
        for one in data.label_files
    ]
    page.grid(("label file", "imported", "labelled by", "SHA-256 begins"), rows or [("none", "", "", "")], (8, 5, 6, 5))
    if data.warnings:
        page.paragraph("The dataset warns:")
        page.points(data.warnings)


def _limits(page: ReportPdf, record: ValidationRecord) -> None:
    page.heading("3. Limits, set before the test")
    limits = record.limits
    if limits is None:
        page.paragraph("No gate judged this version: there are none.")
        return
    at = _minute(limits.first_used_at) if limits.first_used_at else "at a time that is not on record"
    if limits.set_before:
        page.paragraph(f"The same limits judged {limits.first_used_for} at {at}, before this version was evaluated.")
    else:
        page.paragraph(f"The oldest evaluation judged by these limits is that of {limits.first_used_for}, {at}.")
    rows = [(name, "none" if value in (None, {}) else str(value)) for name, value in limits.policy.items()]
    page.grid(("limit", "value"), rows, (3, 4))


def _results(page: ReportPdf, record: ValidationRecord) -> None:
    page.heading("4. Results")
    results = record.results
    if results is None:
        page.paragraph("Nothing was measured against limits; see above.")
        return
    page.paragraph(results.verdict, lead="Passed" if results.passed else "Refused")
    page.fact("Measured", f"{_minute(results.evaluated_at)} on {results.frames} test frames, {results.engine}")
    page.fact("mAP50", _interval(results.map50))
    page.fact("mAP50-95", _interval(results.map50_95))
    if results.gain is not None:
        page.fact("Gain", f"{_interval(results.gain)} mAP50 against {results.compared_with}")
    page.fact("Latency", f"{results.latency_ms_p95:.1f} ms (95th percentile)")
    page.ln(2)
    rows = [_class_row(name, one) for name, one in results.classes.items()]
    page.grid(("class", "boxes", "found", "recall, exact 95 % interval", "precision", "AP50"), rows, (4, 2, 2, 6, 3, 3))
    rows = [(_finding(rule), rule.rule, rule.sentence) for rule in results.rules]
    refused = [number for number, rule in enumerate(results.rules) if not rule.passed]
    page.grid(("", "rule", "finding"), rows, (2, 3, 9), bold=refused, wrap=WrapMode.WORD)


def _approvals(page: ReportPdf, record: ValidationRecord) -> None:
    page.heading("5. Approvals")
    agreed = record.approvals
    if agreed.needed is not None:
        names = ", ".join(agreed.approved_by) or "nobody"
        page.paragraph(f"Approved by {names}; {agreed.needed} must approve. Each signed with a key of their own.")
        signed = [
            (one.name, one.meaning or "not on record", _minute(one.at) if one.at else "not on record")
            for one in agreed.signatures
        ]
        if signed:
            page.grid(("name", "meaning of the signature", "signed at"), signed, (8, 8, 8))
    if agreed.proposed_at is not None:
        page.fact("Proposed", f"{_minute(agreed.proposed_at)} by {agreed.proposed_by}")
    rows = [
        (
            f"{one.channel} {one.release}",
            _minute(one.at),
            one.by,
            one.reason + (" (forced)" if one.forced else "") + (" (not judged)" if one.unjudged else ""),
        )
        for one in agreed.releases
    ]
    page.grid(("release", "when", "who", "why"), rows or [("never released", "", "", "")], (4, 5, 5, 10))


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _finding(rule: RuleOutcome) -> str:
    return "refused" if not rule.passed else "met" if rule.judged else "not evaluated"


def _class_row(name: str, one: ClassOutcome) -> Sequence[str]:
    recall = _interval(one.recall.interval)
    return (name, str(one.truth), str(one.recall.found), recall, f"{one.precision:.3f}", f"{one.ap50:.3f}")


def _interval(figure: Interval) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
