"""``yolo-assets models import`` and ``models build``: versions that no training of this plant made."""

from __future__ import annotations

import getpass
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from yolo_assets.cli.class_names import ClassesOption, given_classes
from yolo_assets.cli.common import JsonOption, StoreOption, emit_json, note, on_the_trail, out, settings, valid
from yolo_assets.cli.registries import check_spelling, find_version, open_promoter
from yolo_assets.contracts.locations import location_folder
from yolo_assets.contracts.names import check_id, check_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yolo_assets.contracts.model import ModelManifest
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.learning.dataset import Dataset
    from yolo_assets.models.gate_report import GateReport
    from yolo_assets.models.promotion import Promoter
    from yolo_assets.training.importing import ImportRequest


def import_model_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="ONNX file or checkpoint (.pt) of Ultralytics.")],
    name: Annotated[
        str,
        typer.Option(
            "--name", help="Name of the model, like line.", parser=valid(partial(check_id, what="model name"))
        ),
    ],
    version: Annotated[
        str, typer.Option("--version", help="Version that it gets, like 2026-01 or best3.", parser=valid(check_version))
    ],
    golden: Annotated[
        Path,
        typer.Option(
            "--golden",
            metavar="DIR",
            help="Folder with pictures of the line, on which it is run.",
            parser=location_folder,
        ),
    ],
    classes: ClassesOption = None,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", min=0.0, max=1.0, help="Confidence from which the edge reports; default: 0.25."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="FILE", help="Labels of those pictures (COCO, Label Studio, YOLO zip): the gate judges."
        ),
    ] = None,
    note_text: Annotated[str, typer.Option("--note", metavar="TEXT", help="Kept in the manifest.")] = "",
    by: Annotated[str | None, typer.Option("--by", help="Who brings it; by default the login name.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a model that was trained elsewhere: YOLOv5u, YOLOv8 to YOLO12, YOLO26, or any file that fits.

    Its shapes decide, and a run on your pictures with the engine of the edge. Where Ultralytics is installed, its own
    prediction must be the same. No code of a checkpoint is run. A version that came as a checkpoint can be trained on.

    Example: yolo-assets models import best.onnx --name line --version 2026-01 --golden pictures/
    """
    from yolo_assets.training.importing import ImportRequest

    given = given_classes(classes)
    request = ImportRequest(
        file=file,
        name=name,
        version=version,
        pictures=golden,
        by=by or getpass.getuser(),
        class_names=given.names,
        display_names=given.display_names,
        confidence=confidence,
        note=note_text,
    )
    _bring("models import", [file], settings(store=store), request, labels, as_json)


def average_models(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Checkpoints (.pt) of the sites.")],
    name: Annotated[
        str,
        typer.Option(
            "--name", help="Name of the model, like line.", parser=valid(partial(check_id, what="model name"))
        ),
    ],
    version: Annotated[str, typer.Option("--version", help="Version that it gets.", parser=valid(check_version))],
    golden: Annotated[
        Path,
        typer.Option("--golden", metavar="DIR", help="Folder with pictures of the line.", parser=location_folder),
    ],
    share: Annotated[
        list[float] | None,
        typer.Option("--share", min=0.000001, help="Part of each site, in their order; by default equal parts."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="FILE", help="Labels of those pictures (COCO, Label Studio, YOLO zip): the gate judges."
        ),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who makes it; by default the login name.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Average checkpoints of several sites, weight by weight, and register the result as a candidate.

    They must be of one architecture and have the same classes. The average passes the same gate as any version: with
    --labels it is judged at once. No privacy is claimed: weights can tell of the data that made them.

    Example: yolo-assets models average hall1.pt hall2.pt --name line --version avg-1 --golden pictures/
    """
    from yolo_assets.training.averaging import averaged_checkpoint
    from yolo_assets.training.importing import ImportRequest

    with tempfile.TemporaryDirectory(prefix="yolo-assets-average-") as folder:
        note(f"averaging {len(files)} checkpoints, in a process that runs no code of them")
        made = averaged_checkpoint(files, share or (), Path(folder))
        parts = ", ".join(
            f"{file.name} ×{part:g}" for file, part in zip(files, share or [1.0] * len(files), strict=True)
        )
        request = ImportRequest(
            file=made,
            name=name,
            version=version,
            pictures=golden,
            by=by or getpass.getuser(),
            note=f"average of {parts}",
        )
        _bring("models average", files, settings(store=store), request, labels, as_json)


def _bring(
    what: str, files: Sequence[Path], located: Settings, request: ImportRequest, labels: Path | None, as_json: bool
) -> None:
    """Import a file, have the gate judge it where there are labels, and say what came of it."""
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage.open import open_store
    from yolo_assets.training.importing import import_model

    promoter = open_promoter(located, None) if labels is not None else None
    registry = promoter.registry if promoter else Registry(open_store(located.store_url))
    target = TrailTarget(model=f"{request.name}/{request.version}", names=tuple(map(str, files)))
    with on_the_trail(located, what, target, by=request.by, reason=request.note) as act:
        imported = import_model(registry, request, say=note)
        act.result = "done: it was registered before" if imported.imported_before else "done"
    for warning in imported.warnings:
        note(f"warning: {warning}")
    report = _verdict(promoter, located, imported.manifest, labels, request.pictures) if promoter and labels else None
    manifest, compared = imported.manifest, imported.comparison
    if as_json:
        emit_json(
            {
                "model": manifest.model_version,
                "imported_before": imported.imported_before,
                "manifest": manifest.model_dump(mode="json"),
                "engine": imported.engine,
                "pictures": imported.pictures,
                "boxes": imported.boxes,
                "golden_frames": len(manifest.golden_frames),
                "compared": None
                if compared is None
                else {"ultralytics": compared.version, "boxes": compared.boxes, "differences": list(compared.problems)},
                "warnings": list(imported.warnings),
                "gate": report.model_dump(mode="json") if report else None,
            }
        )
        return
    if imported.imported_before:
        out().print(f"{manifest.model_version} is registered already, from the same file")
    else:
        out().print(
            f"{manifest.model_version}: {manifest.output_layout}, {'×'.join(map(str, manifest.input_shape))}, "
            f"{len(manifest.class_names)} classes; {imported.boxes} boxes in {imported.pictures} pictures on "
            f"{imported.engine}" + (f", as Ultralytics {compared.version} finds them" if compared else "")
        )
    for change in manifest.imported.changes if manifest.imported else ():
        out().print(f"rewritten: {change}")
    _show_verdict(manifest, report)


def _verdict(
    promoter: Promoter, located: Settings, manifest: ModelManifest, labels: Path, pictures: Path
) -> GateReport:
    """The gate on a version that was just imported, by labels of its pictures."""
    from yolo_assets.learning.test_set import labelled_test_set

    return _judged(promoter, located, manifest, labelled_test_set(promoter.registry.store, labels, pictures))


def _judged(promoter: Promoter, located: Settings, manifest: ModelManifest, test_set: Dataset) -> GateReport:
    """The plant's gate on a version, by the frames of a test set."""
    from yolo_assets.models.gate_policy import GatePolicy
    from yolo_assets.training.verdict import judge_version

    policy = GatePolicy.load(located.gate_policy)
    return judge_version(promoter, manifest.name, manifest.version, test_set, policy, located.home / "training")


def _show_verdict(manifest: ModelManifest, report: GateReport | None) -> None:
    """What the gate says, where it was asked, and how the version is released."""
    if report is not None:
        out().print(report.summary)
    flag = " --unjudged" if report is None else "" if report.passed else " --force"
    note(f'next: yolo-assets models promote {manifest.model_version}{flag} --reason "..."')


def build_model(
    model: Annotated[
        str, typer.Argument(metavar="NAME/VERSION", help="What it is built from.", parser=valid(check_spelling))
    ],
    precision: Annotated[Literal["int8"], typer.Option("--precision", help="Arithmetic of the build.")] = "int8",
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="DIR",
            help="Pictures of the line; default: those it was trained on.",
            parser=location_folder,
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            metavar="VERSION",
            help="Version that it gets; default: <VERSION>-<precision>.",
            parser=valid(check_version),
        ),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who makes it; by default the login name.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a version with int8 arithmetic, for processors without bf16, and let the gate judge it.

    NNCF measures the network on pictures of the line and rounds it. The build finds other boxes, so it is a version of
    its own. The gate compares it with what serves, on the newest dataset; without a dataset nothing judges it.

    Example: yolo-assets models build line/20260102-1a2b3c4d --precision int8
    """
    from yolo_assets.contracts.trail import TrailTarget
    from yolo_assets.training.building import BuildRequest, build_int8

    located = settings(store=store)
    promoter = open_promoter(located, None)
    name, origin = find_version(promoter.registry, located, model)
    request = BuildRequest(
        name=name,
        of=origin,
        version=version or f"{origin}-{precision}",
        by=by or getpass.getuser(),
        pictures=calibration,
    )
    target = TrailTarget(model=f"{name}/{request.version}", names=(f"from {name}/{origin}",))
    with on_the_trail(located, "models build", target, by=request.by) as act:
        built = build_int8(promoter.registry, request, say=note)
        act.result = "done: it was built before" if built.built_before else "done"
    manifest = built.manifest
    report = _verdict_on_build(promoter, located, manifest)
    if as_json:
        emit_json(
            {
                "model": manifest.model_version,
                "built_before": built.built_before,
                "manifest": manifest.model_dump(mode="json"),
                "gate": report.model_dump(mode="json") if report else None,
            }
        )
        return
    assert manifest.built is not None
    before = " before" if built.built_before else ""
    out().print(
        f"{manifest.model_version}: built{before} from {manifest.built.of} on {manifest.built.pictures} pictures"
    )
    if report is None:
        note("there is no dataset with these classes, so no gate judged it")
    _show_verdict(manifest, report)


def _verdict_on_build(promoter: Promoter, located: Settings, manifest: ModelManifest) -> GateReport | None:
    """The gate on the build, by the test frames of the newest dataset; None without one."""
    from yolo_assets.learning.dataset import latest_dataset

    dataset = latest_dataset(promoter.registry.store)
    if dataset is None or dataset.manifest.class_names != manifest.class_names:
        return None
    return _judged(promoter, located, manifest, dataset)
