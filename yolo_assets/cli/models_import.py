"""``yolo-assets models import``: a model that was trained elsewhere becomes a version of the registry."""

from __future__ import annotations

import getpass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_assets.cli.class_names import ClassesOption, given_classes
from yolo_assets.cli.common import JsonOption, StoreOption, emit_json, note, out, settings, valid
from yolo_assets.cli.registries import open_promoter
from yolo_assets.contracts.locations import location_folder
from yolo_assets.contracts.names import check_id, check_version

if TYPE_CHECKING:
    from yolo_assets.contracts.model import ModelManifest
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.models.gate_report import GateReport
    from yolo_assets.models.promotion import Promoter


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
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage.open import open_store
    from yolo_assets.training.importing import ImportRequest, import_model

    located = settings(store=store)
    promoter = open_promoter(located, None) if labels is not None else None
    registry = promoter.registry if promoter else Registry(open_store(located.store_url))
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
    imported = import_model(registry, request, say=note)
    for warning in imported.warnings:
        note(f"warning: {warning}")
    report = _verdict(promoter, located, imported.manifest, labels, golden) if promoter and labels else None
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
    if report is not None:
        out().print(report.summary)
    flag = "" if report is not None and report.passed else (" --force" if report is not None else " --unjudged")
    note(f'next: yolo-assets models promote {manifest.model_version}{flag} --reason "..."')


def _verdict(
    promoter: Promoter, located: Settings, manifest: ModelManifest, labels: Path, pictures: Path
) -> GateReport:
    """The gate on a version that was just imported, by labels of its pictures."""
    from yolo_assets.learning.test_set import labelled_test_set
    from yolo_assets.models.gate_policy import GatePolicy
    from yolo_assets.training.verdict import judge_version

    test_set = labelled_test_set(promoter.registry.store, labels, pictures)
    policy = GatePolicy.load(located.gate_policy) if located.gate_policy else GatePolicy()
    return judge_version(promoter, manifest.name, manifest.version, test_set, policy, located.home / "training")
