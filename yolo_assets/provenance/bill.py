"""The bill of materials of a version: a CycloneDX 1.6 ML-BOM, https://cyclonedx.org.

CycloneDX and not SPDX 3: its model card has a place for what is measured here, figures by class with the ends of their
intervals, and its own validator checks the whole document without a network. The AI profile of SPDX 3 has a text for
metrics, and the support of it in SPDX's own Python tools is called incomplete by their authors. Does not belong here:
finding the facts (``making``).
"""

from __future__ import annotations

import uuid
from typing import Any

from yolo_assets import __version__
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.model import ONNX, Interval
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.provenance.making import Making

SPEC_VERSION = "1.6"

Component = dict[str, Any]


def bill_of(making: Making) -> bytes:
    """The document, as JSON: the model, its files, the data, what it was made from, and with which libraries."""
    model = _model(making)
    files = [_component("file", f"file:{name}", name, sha256) for name, sha256 in making.files.items()]
    inputs = [*_data(making), *_parents(making)]
    libraries = [_library(name, version) for name, version in sorted(_libraries(making).items())]
    return canonical_json({
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": uuid.uuid4().urn,
        "version": 1,
        "metadata": {
            "timestamp": format_time(utc_now()),
            "tools": {"components": [{"type": "application", "name": "yolo_assets", "version": __version__}]},
            "component": model,
        },
        "components": [*files, *inputs, *libraries],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [one["bom-ref"] for one in (*files, *inputs, *libraries)]}
        ],
    })  # fmt: skip


def _component(kind: str, ref: str, name: str, sha256: str | None = None, **more: Any) -> Component:
    hashes = {"hashes": [{"alg": "SHA-256", "content": sha256}]} if sha256 is not None else {}
    return {"type": kind, "bom-ref": ref, "name": name, **hashes, **more}


def _model(making: Making) -> Component:
    manifest, ran = making.manifest, making.ran
    parameters: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": "object detection",
        "architectureFamily": "YOLO",
        "inputs": [{"format": f"image, N C H W {' '.join(map(str, manifest.input_shape))}"}],
        "outputs": [{"format": f"boxes of {', '.join(manifest.class_names)} ({manifest.output_layout})"}],
    }
    if ran is not None and ran.architecture:
        parameters["modelArchitecture"] = ran.architecture
    if manifest.dataset_sha256 is not None:
        parameters["datasets"] = [{"ref": f"dataset:{manifest.dataset_sha256}"}]
    card: dict[str, Any] = {"modelParameters": parameters}
    if figures := _figures(making):
        card["quantitativeAnalysis"] = {"performanceMetrics": figures}
    if making.gaps:
        card["considerations"] = {"technicalLimitations": [f"Not on record: {gap}" for gap in making.gaps]}
    return _component(
        "machine-learning-model",
        f"model:{manifest.model_version}",
        manifest.name,
        manifest.files[ONNX].sha256,
        version=manifest.version,
        modelCard=card,
    )


def _figures(making: Making) -> list[dict[str, Any]]:
    """What the gate rested on: each figure as text, with its interval where it has one."""
    judged = making.judged
    if judged is None:
        return []
    found = [_figure("mAP50", judged.map50), _figure("mAP50-95", judged.map50_95)]
    for name, result in sorted(judged.classes.items()):
        recall = result.recall if result.recall_interval is None else result.recall_interval
        precision = result.precision if result.precision_interval is None else result.precision_interval
        found += [_figure("recall", recall, name), _figure("precision", precision, name)]
    return found


def _figure(kind: str, value: Interval | float, part: str | None = None) -> dict[str, Any]:
    figure: dict[str, Any] = {"type": kind, **({"slice": part} if part is not None else {})}
    if isinstance(value, Interval):
        ends = {"lowerBound": f"{value.low:.4f}", "upperBound": f"{value.high:.4f}"}
        return {**figure, "value": f"{value.value:.4f}", "confidenceInterval": ends}
    return {**figure, "value": f"{value:.4f}"}


def _data(making: Making) -> list[Component]:
    sha256, data = making.manifest.dataset_sha256, making.data
    if sha256 is None:
        return []
    ref = f"dataset:{sha256}"
    splits = data.splits if data is not None else {}
    said = [{"name": f"yolo_assets:images:{split}", "value": str(facts.images)} for split, facts in splits.items()]
    contents = {"contents": {"properties": said}} if said else {}
    dataset = _component(
        "data", ref, "dataset", sha256, data=[{"type": "dataset", "name": "training dataset", **contents}]
    )
    labels = data.label_files if data is not None else ()
    return [dataset, *(_component("data", f"labels:{one.sha256}", one.file, one.sha256) for one in labels)]


def _parents(making: Making) -> list[Component]:
    """The version that this one was made from, the weights of its start, or the file that was imported."""
    found: list[Component] = []
    if making.parent is not None:
        name, _, version = making.parent.partition("/")
        kind, ref = "machine-learning-model", f"model:{making.parent}"
        found.append(_component(kind, ref, name, making.parent_sha256, version=version))
    if making.start_sha256 is not None:
        found.append(_component("data", f"weights:{making.start_sha256}", "start weights", making.start_sha256))
    imported = making.manifest.imported
    if imported is not None:
        ref = f"imported:{imported.source_sha256}"
        found.append(_component("data", ref, imported.file, imported.source_sha256))
    return found


def _libraries(making: Making) -> dict[str, str]:
    if making.ran is not None:
        return making.ran.libraries
    return making.job.libraries if making.job is not None else {}


def _library(name: str, version: str) -> Component:
    if name == "python":
        return _component("platform", f"platform:{name}", name, version=version)
    return _component("library", f"library:{name}", name, version=version, purl=f"pkg:pypi/{name}@{version}")
