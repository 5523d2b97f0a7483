"""Makes an evidence pack: one question, one archive, one folder.

The folder is built next to its destination under a temporary name and gets its own name once everything in it is
written and signed: a crash leaves nothing that looks like a pack. The same question to the same archive gives the same
files, except for the moment at which it was asked.

Manifests of models and rows of the catalog come from the store root, which is not write-once. Neither is needed for the
proof; both are checked as far as possible.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from yolo_assets import __version__
from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.read import NoCatalogError, ask, find_archives, open_catalog
from yolo_assets.contracts.device_keys import EnrolledDevices
from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError
from yolo_assets.contracts.model import MANIFEST as MODEL_MANIFEST
from yolo_assets.contracts.names import parse_model_version, signature_files
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import Signer, TrustedKeys, pem_of
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.contracts.wording import Language
from yolo_assets.custody.enrolment import read_statements
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.collect import (
    CameraHour,
    CatalogedBatches,
    TooManyFramesError,
    camera_hours,
    collect_hour,
    gaps,
    write,
)
from yolo_assets.evidence.custody import DeviceSeal, pack_seal, statement_files
from yolo_assets.evidence.drawing import PlacedBoxes, draw, jpeg
from yolo_assets.evidence.findings import Finding, selection
from yolo_assets.evidence.history import collect_history
from yolo_assets.evidence.lettering import Fonts, packages
from yolo_assets.evidence.manifest import (
    HourState,
    ModelState,
    PackCounts,
    PackFile,
    PackManifest,
    PackProblem,
    Query,
)
from yolo_assets.evidence.pdf import pdf
from yolo_assets.evidence.report import Report, html
from yolo_assets.evidence.signing import ProvenReceipt, seal
from yolo_assets.evidence.wording import PackWording, howto_text
from yolo_assets.models.registry import Registry
from yolo_assets.runtime.files import fsync_folder
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore, StoreUnavailableError
from yolo_assets.vision.picture_head import read_head
from yolo_assets.vision.pictures import decode_image

_LONGEST_TEXT = 2000
_CHUNK = 1 << 20
_CHECKED = ("sha256", "md5_checksum", "archive_size", "index_sha256")
"""Columns of the catalog that are compared with the receipt."""


class NothingFoundError(UserError):
    """No frame and no record answers the question; no pack was made."""


@dataclass(frozen=True)
class Request:
    """What is asked, by whom and why.

    Attributes:
        query: the question.
        asked_by: a person.
        reason: why, in the person's words.
        max_frames: with more frames than that no pack is made.
        language: of the report.
    """

    query: Query
    asked_by: str
    reason: str = ""
    max_frames: int = 1000
    language: Language = "en"


@dataclass
class _Totals:
    frames: int = 0
    records: int = 0
    detections: int = 0
    fitting: int | None = None
    without_picture: int = 0
    not_drawable: int = 0
    other_size: int = 0
    outside_hour: int = 0


def make_pack(
    archive: Archive,
    store: ObjectStore | None,
    signer: Signer,
    request: Request,
    out: Path,
    *,
    enrolled_by: TrustedKeys | None = None,
    fonts: Sequence[Path] = (),
    now: datetime | None = None,
    report: Callable[[], object] = lambda: None,
) -> PackManifest:
    """Answer a question with a signed folder.

    Args:
        archive: holds the answer; trusts the keys that may have signed the receipts.
        store: the store root, for the catalog and the models' manifests; None where there is none.
        signer: signs the pack; the archiver's key of this machine.
        request: the question, by whom and why.
        out: a folder that is not there, or empty.
        enrolled_by: keys that may have enrolled devices: what the report says of seals; the pack's reader brings own.
        fonts: font files and folders for scripts that DejaVu lacks; the system's by default.
        now: the date of the pack; the present by default.
        report: called for each receipt and each frame.

    Raises:
        BadInputError: ``out`` holds something, the question is none, or no font has the letters of the language.
        NothingFoundError: nothing fits; the message names the reason when something could not be read.
        TooManyFramesError: more than ``max_frames`` frames fit.
        StoreUnavailableError: a store does not answer.
    """
    _check(request, out)
    query, wording, letters = request.query, PackWording(request.language), Fonts(fonts)
    _check_letters(wording, letters)
    made_at = now or utc_now()
    cataloged, found_by = _cataloged_batches(store, query)
    hours = camera_hours(archive, query, cataloged, report)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        done = _Collection(archive, request, hours, partial, letters, report).run()
        if not done.totals.frames and not done.totals.without_picture:
            raise NothingFoundError(_why_nothing(request, done.states))
        held = _held(hours, done.states)
        shown = {name: proven for name, proven in held.items() if name in _named(done.states)}
        model_states, files = _model_files(store, done.models, wording)
        stored = read_statements(store) if store is not None and done.seals else {}
        devices = _devices(stored, enrolled_by)
        enrolments, enrolling = statement_files(stored, {one.key_id for one in done.seals})
        catalog, rows = _catalog_files(store, [proven.receipt for proven in held.values()], wording)
        history, log_files = collect_history(archive, held)
        pack = PackManifest(
            language=request.language,
            query=query,
            reason=request.reason,
            asked_by=request.asked_by,
            made_at=made_at,
            tool_version=__version__,
            archive_url=archive.url,
            found_by=wording.text(found_by),
            signed_by=signer.key_id,
            receipts_signed_by=tuple(sorted({proven.signed_by for hour in hours for proven in hour.receipts})),
            counts=PackCounts(archives=len(shown), **dataclasses.asdict(done.totals)),
            hours=tuple(done.states),
            gaps=tuple(gaps(query, hours, made_at)),
            problems=tuple(done.problems),
            models=tuple(model_states),
            seals=tuple(pack_seal(one, one.verdict(devices)) for one in done.seals),
            enrolled_by=tuple(sorted(enrolling)),
            history=history,
            catalog=catalog,
        )
        keys = _keys(signer, archive.trusted, enrolled_by, pack)
        for one in done.seals:
            keys |= {path: data for path, data in one.files().items() if path.startswith("keys/")}
        for path, data in (files | rows | enrolments | log_files | keys).items():
            write(partial / names.check_path(path), [data])
        view = Report(pack, partial, shown)
        for text in view.texts():
            letters.shown(text)
        pack = pack.model_copy(update={"unprinted": "".join(letters.missing)})
        view = dataclasses.replace(view, pack=pack)
        write(partial / names.HOWTO, [howto_text(pack).encode()])
        attached = pack.model_copy(update={"files": tuple(_listed(partial))}).to_bytes()
        write(partial / names.REPORT_PDF, [pdf(view, letters, attached, seal(signer, attached))])
        write(partial / names.REPORT_HTML, html(view, letters))
        return _finish(partial, out, pack, signer)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check(request: Request, out: Path) -> None:
    query = request.query
    if query.camera_id is None and query.batch is None and query.part_id is None:
        raise BadInputError("give a camera, a production batch or a part")
    selection(query)  # refuses an empty range and what is no camera id
    if max(len(request.reason), len(request.asked_by)) > _LONGEST_TEXT:
        raise BadInputError(f"reason and name are at most {_LONGEST_TEXT} characters long")
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise BadInputError(
            f"{out} exists and is not an empty folder; choose another one, nothing is ever added to a pack"
        )


def _check_letters(wording: PackWording, letters: Fonts) -> None:
    """Refuse a language that no font here can print: not even the headings could be read."""
    for _, text in wording.every():
        letters.shown(text)
    if letters.missing:
        needed = " ".join(packages(letters.missing))
        raise BadInputError(
            f"no font here has the letters of a report in {wording.language!r}: install {needed} (Debian), name a font "
            "file by YOLO_ASSETS_FONTS, or make the report with --lang en"
        )


class _Collection:
    """Every hour into the folder, drawn, ``findings.ndjson`` with it.

    Attributes:
        states: of the hours.
        totals: of the frames and records.
        problems: what of them is not shown, and why.
        models: versions that the records name.
        seals: of devices, of hours with frames in the pack.
    """

    def __init__(
        self,
        archive: Archive,
        request: Request,
        hours: Sequence[CameraHour],
        folder: Path,
        fonts: Fonts,
        report: Callable[[], object],
    ) -> None:
        self._archive, self._request, self._hours = archive, request, hours
        self._folder, self._fonts, self._report = folder, fonts, report
        self._classes = sorted({name for hour in hours for proven in hour.receipts for name in proven.receipt.classes})
        self.states: list[HourState] = []
        self.totals = _Totals(fitting=0 if request.query.asks_for_detections else None)
        self.problems: list[PackProblem] = []
        self.models: set[str] = set()
        self.seals: list[DeviceSeal] = []

    def run(self) -> _Collection:
        """Take every hour.

        Raises:
            TooManyFramesError: more frames fit than the request allows.
        """
        with (self._folder / names.FINDINGS).open("xb") as lines:
            for hour in self._hours:
                for finding in self._take(hour):
                    lines.write(finding.to_json() + b"\n")
                    self._count(finding)
        return self

    def _take(self, hour: CameraHour) -> Sequence[Finding]:
        request, before = self._request, len(self.problems)
        counted = (self.totals.not_drawable, self.totals.other_size)
        remaining = request.max_frames - self.totals.frames
        try:
            done = collect_hour(self._archive, request.query, hour, self._folder, remaining, self._draw)
        except TooManyFramesError:
            raise TooManyFramesError(
                f"more than {request.max_frames} frames match, the limit is exceeded in hour {hour.hour} of "
                f"{hour.camera_id}; narrow the question, or raise --max-frames"
            ) from None
        if done.state.state == "unavailable":
            del self.problems[before:]
            self.totals.not_drawable, self.totals.other_size = counted
        self.states.append(done.state)
        self.problems += done.problems
        self.seals += done.seals
        return done.findings

    def _draw(self, finding: Finding, data: bytes) -> None:
        """The drawn copy of one frame, or why there is none; whatever the frame is, the others get theirs."""
        assert finding.frame is not None
        path = finding.frame.path
        try:
            picture, head = decode_image(data, "The file"), read_head(data, "The file")
        except BadInputError as error:
            self.totals.not_drawable += 1
            self.problems.append(PackProblem(kind="no_picture", path=path, reason=f"{error}."))
        else:
            placed = PlacedBoxes.of((entry.record for entry in finding.records), head)
            if placed.unfit:
                self.totals.other_size += 1
                self.problems.append(PackProblem(kind="other_size", path=path))
            if placed.turned:
                self.problems.append(PackProblem(kind="turned", path=path))
            drawn = draw(picture, placed.boxes, self._classes, self._fonts)
            name = names.annotated_path(finding.frame.archive, Path(path).name)
            write(self._folder / name, [jpeg(drawn)])
        self._report()

    def _count(self, finding: Finding) -> None:
        totals = self.totals
        totals.frames += finding.frame is not None
        totals.without_picture += finding.frame is None
        totals.records += len(finding.records)
        moment = finding.captured_at
        totals.outside_hour += moment is not None and moment not in Hour.from_key(finding.hour)
        for entry in finding.records:
            self.models.add(entry.record.model_version)
            totals.detections += len(entry.record.detections)
            if totals.fitting is not None:
                totals.fitting += sum(map(self._request.query.meets, entry.record.detections))


def _why_nothing(request: Request, states: Sequence[HourState]) -> str:
    unavailable = [state for state in states if state.state == "unavailable"]
    text = f"nothing that is archived answers: {PackWording('en').question(request.query)}"
    if unavailable:
        return f"{text} {len(unavailable)} camera-hours could not be read, the first: {unavailable[0].reason}"
    if not states:
        return f"{text} No archive lies in that range; yolo-assets archive ls shows what there is"
    return f"{text} {len(states)} camera-hours were searched; widen the question"


def _held(hours: Sequence[CameraHour], states: Sequence[HourState]) -> dict[str, ProvenReceipt]:
    """Receipts of the archives that were searched, by name."""
    return {
        proven.name.stem: proven
        for hour, state in zip(hours, states, strict=True)
        if state.state == "searched"
        for proven in hour.receipts
    }


def _named(states: Sequence[HourState]) -> set[str]:
    """Archives of the hours in which something was found."""
    return {stem for state in states if state.findings for stem in state.archives}


def _devices(stored: Mapping[str, bytes], enrolled_by: TrustedKeys | None) -> EnrolledDevices:
    if enrolled_by is None:
        return EnrolledDevices(unchecked="no key that enrols devices was given")
    return EnrolledDevices.of(stored, enrolled_by)


def _keys(
    signer: Signer, trusted: TrustedKeys, enrolled_by: TrustedKeys | None, pack: PackManifest
) -> dict[str, bytes]:
    """The public keys that are needed, as PEM."""
    public = {names.key_path(key_id): pem_of(trusted.keys[key_id].public) for key_id in pack.receipts_signed_by}
    for key_id in pack.enrolled_by:
        if enrolled_by is not None and key_id in enrolled_by.keys:
            public[names.key_path(key_id)] = pem_of(enrolled_by.keys[key_id].public)
    return public | {names.key_path(signer.key_id): signer.public_pem()}


def _finish(partial: Path, out: Path, pack: PackManifest, signer: Signer) -> PackManifest:
    """List and sign what is there, then give the folder its name."""
    files = _listed(partial)
    sums = "".join(f"{file.sha256}  {file.path}\n" for file in files).encode()
    write(partial / names.SUMS, [sums])
    pack = pack.model_copy(update={"files": tuple(_listed(partial))})
    data = pack.to_bytes()
    write(partial / names.MANIFEST, [data])
    write(partial / names.SIGNATURE, [seal(signer, data)])
    write(partial / names.SUMS_SIGNATURE, [seal(signer, sums, "evidence-sums")])
    os.sync()  # once, instead of an fsync for each of many thousand files
    partial.rename(out)  # an empty folder of that name is replaced; one that holds something is not
    fsync_folder(out.parent)
    return pack


def _listed(folder: Path) -> list[PackFile]:
    files: list[PackFile] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            where = names.check_path(path.relative_to(folder).as_posix())
            files.append(PackFile(path=where, size=path.stat().st_size, sha256=digest.hexdigest()))
    return files


def _cataloged_batches(store: ObjectStore | None, query: Query) -> tuple[CatalogedBatches | None, str]:
    """Whether each receipt of the range in the catalog names batch and part; and how the report says so."""
    if store is None or query.camera_id is not None:
        return None, "found_receipts"
    try:
        with open_catalog(store) as connection:
            rows = find_archives(connection, query.start, query.end, columns=("receipt_key", "batch_ids", "part_ids"))
    except NoCatalogError:
        return None, "found_receipts"
    cataloged = {key: query.may_be_among(batches, parts) for key, batches, parts in rows.iter_rows()}
    return cataloged, "found_catalog"


def _model_files(
    store: ObjectStore | None, versions: Iterable[str], wording: PackWording
) -> tuple[list[ModelState], dict[str, bytes]]:
    """The manifests of these models with their signatures, as files of the pack."""
    states: list[ModelState] = []
    files: dict[str, bytes] = {}
    for version in sorted(set(versions)):
        try:
            files |= _one_model(store, version, wording)
            signed = any(names.model_path(version, file) in files for file in signature_files(MODEL_MANIFEST))
            note = wording.text("model_signed" if signed else "model_unsigned")
            states.append(ModelState(model_version=version, included=True, note=note))
        except StoreUnavailableError:
            raise
        except UserError as error:
            states.append(ModelState(model_version=version, included=False, note=str(error)))
    return states, files


def _one_model(store: ObjectStore | None, version: str, wording: PackWording) -> dict[str, bytes]:
    try:
        name, number = parse_model_version(version)
    except BadInputError:
        raise BadInputError(wording.text("model_foreign")) from None
    if store is None:
        raise BadInputError(wording.text("model_no_store"))
    registry = Registry(store)
    try:
        files = {MODEL_MANIFEST: registry.read_manifest(name, number, signed=False).data}
    except ObjectNotFoundError:
        raise BadInputError(wording.text("model_missing")) from None
    files |= registry.manifest_signatures(name, number)
    return {names.model_path(version, file): data for file, data in files.items()}


def _catalog_files(
    store: ObjectStore | None, receipts: Sequence[Receipt], wording: PackWording
) -> tuple[str, dict[str, bytes]]:
    """The catalog's rows of these archives, as CSV and Parquet, each compared with its signed receipt.

    Raises:
        IntegrityError: a row contradicts its receipt.
    """
    if store is None:
        return wording.text("catalog_no_store"), {}
    by_key = {receipt.archive_key: receipt for receipt in receipts}
    sql = "SELECT * FROM archives WHERE archive_key IN (SELECT unnest(?::VARCHAR[])) ORDER BY archive_key"
    try:
        with open_catalog(store) as connection:
            rows = ask(connection, sql, [sorted(by_key)])
    except NoCatalogError:
        return wording.text("catalog_none"), {}
    for row in rows.iter_rows(named=True):
        receipt = by_key[row["archive_key"]]
        if any(row[field] != getattr(receipt, field) for field in _CHECKED):
            raise IntegrityError(
                f"the catalog contradicts the signed receipt of {receipt.archive_key}; "
                "rebuild it with: yolo-assets catalog rebuild"
            )
    summary = wording.text("catalog_rows", rows=f"{len(rows):,}", archives=f"{len(by_key):,}")
    if not len(rows):
        return summary, {}
    parquet = io.BytesIO()
    rows.write_parquet(parquet)
    return summary, {names.CATALOG_CSV: _csv(rows), names.CATALOG_PARQUET: parquet.getvalue()}


def _csv(rows: pl.DataFrame) -> bytes:
    """As CSV that a spreadsheet may open: lists joined by spaces, and no cell that it would run as a formula."""
    lists = [name for name, kind in rows.schema.items() if isinstance(kind, pl.List)]
    flat = rows.with_columns(pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(" ") for name in lists)
    texts = [name for name, kind in flat.schema.items() if kind == pl.String]
    harmless = flat.with_columns(pl.col(name).str.replace(r"^([=+\-@\t\r])", "'$1") for name in texts)
    return harmless.write_csv().encode()
