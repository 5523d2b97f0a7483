"""Our chart: every manifest is valid, restricted, connected to the others; and each check refuses what it should."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from yolo_assets.edge.config.agent import load_config
from yolo_assets_tests.kubernetes.charts import (
    CHART,
    DEPLOY,
    EXAMPLE,
    Helm,
    Manifest,
    dagster_values,
    gpus,
    pods,
    problems,
    unrestricted,
)

ALL = {
    "archiver": {"cronJob": {"enabled": True}, "scaledJob": {"enabled": True}},
    "disruption": {"training": True},
    "exporter": {"enabled": True},
}
BY_DATABASE = {
    "type": "postgresql",
    "metadata": {
        "host": "postgres.plant.example",
        "port": "5432",
        "userName": "dagster",
        "dbName": "dagster",
        "sslmode": "require",
        "passwordFromEnv": "PG_PASSWORD",
        "query": "SELECT count(*) FROM runs WHERE status = 'QUEUED'",
        "targetQueryValue": "10",
    },
}


@pytest.fixture(scope="module")
def manifests(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """Of the example plant, with every part switched on."""
    return helm.render(EXAMPLE, ALL, folder=tmp_path_factory.mktemp("values"))


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [one for one in manifests if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def in_edge(manifest: Manifest) -> bool:
    return manifest["metadata"].get("namespace") == "yolo-assets-edge"


def test_helm_accepts_the_chart_and_refuses_a_broken_one(helm: Helm, tmp_path: Path) -> None:
    assert helm.run("lint", "--strict", CHART, "--values", EXAMPLE).returncode == 0
    broken = tmp_path / "yolo-assets"
    helm.run("create", broken)
    (broken / "templates" / "more.yaml").write_text("a: {{ .Values.nothing.there }}\n")
    assert helm.run("lint", "--strict", broken).returncode != 0


@pytest.mark.parametrize(
    "more",
    [
        {},
        ALL,
        {"vault": {"enabled": True}, **ALL},
        {"edge": {"enabled": False}, "training": {"enabled": False}, "network": {"enabled": False}},
        {"training": {"gpu": {"count": 0}}, "edge": {"devices": ["/dev/video0"], "hostNetwork": True}},
        {"archiver": {"scaledJob": {"enabled": True, "triggers": [BY_DATABASE]}}},
        {"image": {"pullSecrets": ["registry"]}},
    ],
    ids=["example", "all", "vault", "little", "devices", "database", "pull secrets"],
)
def test_every_manifest_is_valid(helm: Helm, tmp_path: Path, more: dict[str, Any]) -> None:
    rendered = helm.render(EXAMPLE, more, folder=tmp_path)
    assert len(rendered) > 8
    assert [problem for manifest in rendered for problem in problems(manifest)] == []


def test_the_namespaces_are_valid_and_restricted(manifests: list[Manifest]) -> None:
    namespaces = list(yaml.safe_load_all((DEPLOY / "namespaces.yaml").read_text()))
    assert [problem for namespace in namespaces for problem in problems(namespace)] == []
    enforced = {one["metadata"]["name"]: one["metadata"]["labels"] for one in namespaces}
    assert enforced["yolo-assets"]["pod-security.kubernetes.io/enforce"] == "restricted"
    named = {one["metadata"]["namespace"] for one in manifests if "namespace" in one["metadata"]}
    assert named == set(enforced)


def misspell(*path: str | int) -> Callable[[Manifest], None]:
    """Give the field at the end of a path another name."""

    def spoil(manifest: Manifest) -> None:
        at: Any = manifest
        for step in path[:-1]:
            at = at[step]
        at[f"{path[-1]}z"] = at.pop(path[-1])

    return spoil


def misspell_in_pod(manifest: Manifest) -> None:
    pod = yaml.safe_load(manifest["data"]["pod.yaml"])
    misspell("spec", "containers", 0, "resources")(pod)
    manifest["data"]["pod.yaml"] = yaml.safe_dump(pod)


@pytest.mark.parametrize(
    ("kind", "name", "spoil"),
    [
        ("DaemonSet", "yolo-assets-edge", misspell("spec", "template", "spec", "containers", 0, "volumeMounts")),
        ("CronJob", "yolo-assets-archiver", misspell("spec", "concurrencyPolicy")),
        ("ScaledJob", "yolo-assets-archiver", misspell("spec", "maxReplicaCount")),
        ("ScaledJob", "yolo-assets-archiver", misspell("spec", "triggers", 0, "metadata", "threshold")),
        ("ScaledJob", "yolo-assets-archiver", misspell("spec", "jobTargetRef", "template", "spec", "containers")),
        ("ConfigMap", "yolo-assets-training-pod", misspell_in_pod),
        ("Deployment", "yolo-assets-exporter", misspell("spec", "strategy")),
        ("Deployment", "yolo-assets-pages", misspell("spec", "template", "spec", "volumes", 1, "projected", "sources")),
        ("Service", "yolo-assets-pages", misspell("spec", "ports", 0, "targetPort")),
        ("NetworkPolicy", "yolo-assets-webserver", misspell("spec", "podSelector")),
        ("PodDisruptionBudget", "yolo-assets-webserver", misspell("spec", "minAvailable")),
        ("Role", "yolo-assets-runs", misspell("rules", 0, "verbs")),
        ("ServiceAccount", "yolo-assets-training", misspell("automountServiceAccountToken")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_spoiled_manifest_is_refused(
    manifests: list[Manifest], kind: str, name: str, spoil: Callable[[Manifest], None]
) -> None:
    manifest = copy.deepcopy(one(manifests, kind, name))
    assert problems(manifest) == []
    spoil(manifest)
    assert problems(manifest) != []


@pytest.mark.parametrize(
    "wrong",
    [
        {"edge": {"shmm": "1Gi"}},
        {"edge": {"nodes": {"line-c-1": {"cameras": []}}}},
        {"edge": {"cameraResources": {"nvidia.com/gpu": 1}}},
        {"image": {"tag": "latest"}},
        {"store": "plant-store"},
        {"pages": {"url": "plant.example/pages"}},
        {"archiver": {"cronJob": {"schedule": "hourly"}}},
        {"archiver": {"scaledJob": {"triggers": []}}},
        {"network": {"postgres": {"cidr": "postgres.plant.example"}}},
        {"training": {"resources": {"limits": {"cpu": "lots"}}}},
    ],
    ids=lambda value: next(iter(value)),
)
def test_wrong_values_are_refused_by_the_schema(helm: Helm, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="values don't meet the specifications of the schema"):
        helm.render(EXAMPLE, wrong, folder=tmp_path)


def test_no_pod_of_the_platform_is_more_than_restricted(manifests: list[Manifest]) -> None:
    seen = 0
    for manifest in manifests:
        for pod in pods(manifest):
            seen += 1
            excused = ["volume hostPath"] if in_edge(manifest) else []  # the spool of a node lies on the node
            assert unrestricted(pod) == excused, manifest["metadata"]["name"]
    assert seen == 6


@pytest.mark.parametrize(
    ("spoil", "refused"),
    [
        (lambda spec: spec["securityContext"].update(runAsNonRoot=False), "runAsNonRoot"),
        (lambda spec: spec["securityContext"].pop("seccompProfile"), "seccompProfile"),
        (lambda spec: spec.update(hostNetwork=True), "hostNetwork"),
        (lambda spec: spec["volumes"].append({"name": "n", "hostPath": {"path": "/"}}), "volume hostPath"),
        (lambda spec: spec["containers"][0]["securityContext"].update(privileged=True), "privileged"),
        (lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"), "capabilities"),
        (
            lambda spec: spec["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
            "allowPrivilegeEscalation",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pod_that_asks_for_more_is_found(
    manifests: list[Manifest], spoil: Callable[[Manifest], None], refused: str
) -> None:
    (pod,) = pods(copy.deepcopy(one(manifests, "CronJob", "yolo-assets-archiver")))
    assert unrestricted(pod) == []
    spoil(pod["spec"])
    assert unrestricted(pod) == [refused]


def test_the_training_pod_alone_asks_for_a_gpu(manifests: list[Manifest], helm: Helm, tmp_path: Path) -> None:
    asking = [one["metadata"]["name"] for one in manifests for pod in pods(one) if gpus(pod)]
    assert asking == ["yolo-assets-training-pod"]
    moved = {"edge": {"cameraResources": {"nvidia.com/gpu": 1}}}
    with pytest.raises(ValueError, match=r"nvidia\.com/gpu"):
        helm.render(EXAMPLE, moved, folder=tmp_path)


def test_shared_memory_lies_in_memory_and_is_bounded(manifests: list[Manifest]) -> None:
    for kind, name in (("DaemonSet", "yolo-assets-edge"), ("ConfigMap", "yolo-assets-training-pod")):
        (pod,) = pods(one(manifests, kind, name))
        (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "shm"]
        assert volume["emptyDir"]["medium"] == "Memory" and volume["emptyDir"]["sizeLimit"]
        mounts = pod["spec"]["containers"][0]["volumeMounts"]
        assert {"name": "shm", "mountPath": "/dev/shm"} in mounts


def test_every_pod_has_limits_an_account_and_no_token(manifests: list[Manifest]) -> None:
    accounts = {
        (one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in manifests
        if one["kind"] == "ServiceAccount"
    }
    for manifest in manifests:
        for pod in pods(manifest):
            spec = pod["spec"]
            assert (manifest["metadata"].get("namespace"), spec["serviceAccountName"]) in accounts
            assert spec["automountServiceAccountToken"] is False
            for container in spec["containers"]:
                assert {"cpu", "memory"} <= container["resources"]["limits"].keys(), container["name"]
            mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_roles_may_do_nothing_that_they_do_not_need(manifests: list[Manifest]) -> None:
    granted = {
        role["metadata"]["name"]: {
            (resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
        }
        for role in manifests
        if role["kind"] == "Role"
    }
    assert granted.keys() == {
        "yolo-assets-dagster",
        "yolo-assets-runs",
    }  # archiver, training and edge: no rights at all
    for rights in granted.values():
        assert not {verb for _, verb in rights} & {"*", "patch", "update", "deletecollection", "escalate", "bind"}
        assert not {resource for resource, _ in rights} & {"*", "secrets", "configmaps", "pods/exec"}
    assert ("pods", "create") not in granted["yolo-assets-dagster"]
    assert ("jobs", "create") not in granted["yolo-assets-runs"]


def test_both_namespaces_deny_everything_first(manifests: list[Manifest]) -> None:
    policies = [one for one in manifests if one["kind"] == "NetworkPolicy"]
    closed = [one for one in policies if one["metadata"]["name"] == "yolo-assets-deny-all"]
    assert {one["metadata"]["namespace"] for one in closed} == {"yolo-assets", "yolo-assets-edge"}
    assert all(one["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} for one in closed)
    # Nobody in the cluster but the proxy with the login reaches the UI.
    for name in ("yolo-assets-webserver", "yolo-assets-pages"):
        (rule,) = one(policies, "NetworkPolicy", name)["spec"]["ingress"]
        (peer,) = rule["from"]
        assert peer == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "proxy"}}}
    # The training pod reaches names and the store, and no other rule names it.
    (names_and_store,) = [
        one["spec"]["egress"]
        for one in policies
        if one["metadata"]["name"] == "yolo-assets-names-and-store" and not in_edge(one)
    ]
    assert len(names_and_store) == 2
    (others,) = one(policies, "NetworkPolicy", "yolo-assets-dagster")["spec"]["podSelector"]["matchExpressions"]
    assert others["operator"] == "NotIn" and {"training", "pages"} <= set(others["values"])


def test_with_vault_no_pod_reads_credentials_from_a_secret(helm: Helm, tmp_path: Path) -> None:
    for manifest in helm.render(EXAMPLE, {**ALL, "vault": {"enabled": True}}, folder=tmp_path):
        for pod in pods(manifest):
            annotations = pod["metadata"]["annotations"]
            assert annotations["vault.hashicorp.com/agent-inject"] == "true"
            for container in pod["spec"]["containers"]:
                assert "envFrom" not in container
                (file,) = [one["value"] for one in container["env"] if one["name"] == "AWS_SHARED_CREDENTIALS_FILE"]
                role = file.removeprefix("/vault/secrets/aws-")
                assert "[default]" in annotations[f"vault.hashicorp.com/agent-inject-template-aws-{role}"]


def test_the_pages_are_started_where_links_lead_to_them(manifests: list[Manifest]) -> None:
    (pod,) = pods(one(manifests, "Deployment", "yolo-assets-pages"))
    (container,) = pod["spec"]["containers"]
    service = one(manifests, "Service", "yolo-assets-pages")
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in [known["name"] for known in container["ports"]]
    assert container["command"][:2] == ["yolo-assets", "pages"]
    (links,) = [one["value"] for one in container["env"] if one["name"] == "YOLO_ASSETS_PAGES"]
    (deployment,) = dagster_values()["dagster-user-deployments"]["deployments"]
    assert {"name": "YOLO_ASSETS_PAGES", "value": links} in deployment["env"]


@pytest.mark.parametrize("name", ["yolo-assets-exporter", "yolo-assets-pages"])
def test_who_only_reads_gets_public_keys_alone(helm: Helm, tmp_path: Path, name: str) -> None:
    remote = {"dagster": {"archiverKeys": {"line-a": "-----BEGIN PUBLIC KEY-----"}}}
    (pod,) = pods(one(helm.render(EXAMPLE, ALL, remote, folder=tmp_path), "Deployment", name))
    (keys,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "keys"]
    paths = {
        item["path"] for source in keys["projected"]["sources"] for part in source.values() for item in part["items"]
    }
    assert paths == {"archiver.pub", "promotion.pub", "archivers/line-a.pub"}
    (mount,) = [one for one in pod["spec"]["containers"][0]["volumeMounts"] if one["name"] == "keys"]
    assert mount == {"name": "keys", "mountPath": "/var/lib/yolo-assets/keys", "readOnly": True}


def test_the_exporter_is_shown_no_spool(manifests: list[Manifest]) -> None:
    """A folder that is not there: of an empty one it would say that nothing waits."""
    (pod,) = pods(one(manifests, "Deployment", "yolo-assets-exporter"))
    (container,) = pod["spec"]["containers"]
    (spool,) = [one["value"] for one in container["env"] if one["name"] == "YOLO_ASSETS_SPOOL"]
    assert spool not in {mount["mountPath"] for mount in container["volumeMounts"]}
    (made,) = re.findall(r"install -d .*", (DEPLOY.parent / "images" / "Dockerfile").read_text())
    assert "/spool" in made.split() and spool not in made.split()


def test_each_node_of_the_example_has_a_configuration(manifests: list[Manifest], tmp_path: Path) -> None:
    files = one(manifests, "ConfigMap", "yolo-assets-edge")["data"]
    assert sorted(files) == ["line-a-1.yaml", "line-b-1.yaml"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        load_config(tmp_path / name)
    (pod,) = pods(one(manifests, "DaemonSet", "yolo-assets-edge"))
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] == ["line-a-1", "line-b-1"]
