"""Whether everything that a manifest names is there: what no schema sees and a cluster says too late."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from components.deploy_canary.kserve import twin_of
from components.deploy_canary.rollout import LOCAL
from pipelines.cli.options import TARGET_VARIABLE
from pipelines.cluster_canary import parse_address
from tests.k8s.manifests import K8S, Resource, containers, name, pods

VOLUME_SOURCES = (
    ("ConfigMap", "configMap", "name"),
    ("Secret", "secret", "secretName"),
    ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
)
REFERENCES = {
    "configMapRef": "ConfigMap",
    "secretRef": "Secret",
    "configMapKeyRef": "ConfigMap",
    "secretKeyRef": "Secret",
}


def documented_secrets() -> set[str]:
    """Secrets that the README has the reader make."""
    return set(re.findall(r"^\| `(recsys-[a-z0-9-]+)` \|", (K8S / "README.md").read_text(), re.M))


def dangling(all_: list[Resource]) -> list[str]:
    """Every name that leads nowhere, while a rollout is on its way where the manifests are made for one."""
    all_ = [*all_, *_twins(all_)]
    there = {name(one) for one in all_} | {f"Secret/{secret}" for secret in documented_secrets()}
    there |= {f"Secret/{one['spec']['target']['name']}" for one in all_ if one["kind"] == "ExternalSecret"}
    there |= {f"Secret/{one['spec']['secretName']}" for one in all_ if one["kind"] == "Certificate"}
    there |= {
        f"Service/{tag}{one['metadata']['name']}-predictor"
        for one in all_
        if one["kind"] == "InferenceService"
        for tag in ("", "latest-")
        if one["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"
    }
    named = [pair for pod, _ in pods(all_) for pair in _of_pod(pod)]
    named += [(name(one), target) for one in all_ for target in _of_resource(one)]
    missing = [f"{place}: {target} is not there" for place, target in named if target not in there]
    return missing + list(_closed_ports(all_)) + list(_selectors(all_)) + list(_volumes(all_))


def _twins(all_: list[Resource]) -> Iterator[Resource]:
    """What a rollout in Standard mode adds: the twin of the service that it runs on."""
    targets = [one["data"].get(TARGET_VARIABLE, LOCAL) for one in all_ if one["kind"] == "ConfigMap"]
    for address in (parse_address(target) for target in targets if target.startswith("standard:")):
        [stable] = [one for one in all_ if name(one) == f"InferenceService/{address.service}"]
        yield twin_of(stable, f"{address.service}-canary", f"{address.bundles}/b-111111111111", 1)


def _of_pod(pod: Resource) -> Iterator[tuple[str, str]]:
    account = pod["serviceAccountName"]
    targets = [f"ServiceAccount/{account}"]
    for volume in pod.get("volumes", []):
        for kind, source, key in VOLUME_SOURCES:
            if source in volume:
                targets.append(f"{kind}/{volume[source][key]}")
    for container in containers(pod):
        targets += _of_container(container)
    yield from ((f"pod of {account}", target) for target in targets)


def _of_container(container: Resource) -> Iterator[str]:
    values = [one["valueFrom"] for one in container.get("env", []) if "valueFrom" in one]
    for source in [*container.get("envFrom", []), *values]:
        for key, named in source.items():
            if key in REFERENCES:
                yield f"{REFERENCES[key]}/{named['name']}"


def _of_resource(resource: Resource) -> list[str]:
    find = NAMED.get(resource["kind"])
    return list(find(resource.get("spec", resource))) if find else []


def _addresses(config: Resource) -> Iterator[str]:
    """Of the servers behind the door, and of a rollout's candidate and its bundles."""
    target = config.get("data", {}).get(TARGET_VARIABLE)
    if target is not None:
        address = parse_address(target)
        yield f"InferenceService/{address.service}"
        if address.bundles.startswith("pvc://"):
            yield f"PersistentVolumeClaim/{urlsplit(address.bundles).netloc}"
        if address.canary is not None:
            yield f"Service/{urlsplit(address.canary).hostname}"
    for pair in filter(None, config.get("data", {}).get("RECSYS_API_UPSTREAMS", "").split(",")):
        yield f"Service/{urlsplit(pair.partition('=')[2]).hostname}"


def _metrics_keys(spec: Resource) -> Iterator[str]:
    for end in spec["podMetricsEndpoints"]:
        if "authorization" in end:
            yield f"Secret/{end['authorization']['credentials']['name']}"
        if "tlsConfig" in end:
            yield f"Secret/{end['tlsConfig']['ca']['secret']['name']}"


def _model(spec: Resource) -> Iterator[str]:
    model = spec["predictor"]["model"]
    uri = urlsplit(model.get("storageUri", ""))  # a twin's; manifests name no bundle
    yield f"ServingRuntime/{model['runtime']}"
    if uri.scheme == "pvc":
        yield f"PersistentVolumeClaim/{uri.netloc}"


def _stores(spec: Resource) -> Iterator[str]:
    services = spec["services"]
    for one in (services["onlineStore"], services["registry"]["local"]):
        yield f"Secret/{one['persistence']['store']['secretRef']['name']}"


def _scaled(spec: Resource) -> Iterator[str]:
    yield f"{spec['scaleTargetRef']['kind']}/{spec['scaleTargetRef']['name']}"
    for trigger in spec.get("triggers", []):
        if "authenticationRef" in trigger:
            yield f"TriggerAuthentication/{trigger['authenticationRef']['name']}"


def _backend_tls(spec: Resource) -> Iterator[str]:
    for one in (*spec["targetRefs"], *spec["validation"]["caCertificateRefs"]):
        yield f"{one['kind']}/{one['name']}"


NAMED: Mapping[str, Callable[[Resource], Iterator[str]]] = {
    "BackendTLSPolicy": _backend_tls,
    "Certificate": lambda spec: iter([f"{spec['issuerRef']['kind']}/{spec['issuerRef']['name']}"]),
    "ConfigMap": _addresses,
    "FeatureStore": _stores,
    "HorizontalPodAutoscaler": _scaled,
    "InferenceService": _model,
    "Issuer": lambda spec: (f"Secret/{spec[one]['secretName']}" for one in ("ca",) if one in spec),
    "PodMonitor": _metrics_keys,
    "RoleBinding": lambda binding: (
        f"{one['kind']}/{one['name']}" for one in (binding["roleRef"], *binding["subjects"])
    ),
    "ScaledObject": _scaled,
    "BackendTrafficPolicy": lambda spec: (f"{one['kind']}/{one['name']}" for one in spec["targetRefs"]),
    "SecurityPolicy": lambda spec: (f"{one['kind']}/{one['name']}" for one in spec["targetRefs"]),
    "HTTPRoute": lambda spec: (f"Service/{back['name']}" for rule in spec["rules"] for back in rule["backendRefs"]),
    "ServiceAccount": lambda account: (f"Secret/{one['name']}" for one in account.get("secrets", [])),
    "TriggerAuthentication": lambda spec: (f"Secret/{one['name']}" for one in spec["secretTargetRef"]),
    "StatefulSet": lambda spec: iter([f"Service/{spec['serviceName']}"]),
}
"""Kind to what its spec (or the resource itself, where it has none) names."""


def _closed_ports(all_: list[Resource]) -> Iterator[str]:
    """Ports that are asked and not open: of a Service in its pods, of a probe in its container, of a route in its Service."""
    services = {one["metadata"]["name"]: one["spec"] for one in all_ if one["kind"] == "Service"}
    for service, spec in services.items():
        selected = [pod for pod, labels in pods(all_) if _matches(spec["selector"], labels)]
        is_open = {one for pod in selected for container in pod["containers"] for one in _open(container)}
        yield from (f"Service/{service}: {one} is closed" for one in _asked(spec["ports"]) if one not in is_open)
    for pod, _ in pods(all_):
        for container in pod["containers"]:
            yield from (f"{container['name']}: {one} is closed" for one in _probed(container) - _open(container))
    for route in (one for one in all_ if one["kind"] == "HTTPRoute"):
        for back in (back for rule in route["spec"]["rules"] for back in rule["backendRefs"]):
            if back["port"] not in {port["port"] for port in services[back["name"]]["ports"]}:
                yield f"{name(route)}: {back['name']} has no port {back['port']}"


def _asked(ports: list[Resource]) -> list[Any]:
    return [port["targetPort"] for port in ports]


def _probed(container: Resource) -> set[Any]:
    probes = [container.get(probe, {}) for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    return {probe[how]["port"] for probe in probes for how in ("httpGet", "tcpSocket") if how in probe}


def _open(container: Resource) -> set[Any]:
    return {one for port in container.get("ports", []) for one in (port.get("name"), port["containerPort"])}


def _selectors(all_: list[Resource]) -> Iterator[str]:
    """Selectors that select nothing."""
    labels = [labels for _, labels in pods(all_)]
    for resource in all_:
        selector = _selector(resource)
        if selector and not any(_matches(selector, one) for one in labels):
            yield f"{name(resource)}: selects no pod ({selector})"
    for pod, own in pods(all_):
        for spread in pod.get("topologySpreadConstraints", []):
            if not _matches(spread["labelSelector"]["matchLabels"], own):
                yield f"pod of {pod['serviceAccountName']}: is spread by labels that it does not have"


def _selector(resource: Resource) -> Mapping[str, str]:
    spec = resource.get("spec", {})
    if resource["kind"] == "Service":
        return spec["selector"]
    if resource["kind"] in {"Deployment", "StatefulSet", "PodDisruptionBudget", "PodMonitor"}:
        return spec["selector"].get("matchLabels", {})
    return spec["podSelector"].get("matchLabels", {}) if resource["kind"] == "NetworkPolicy" else {}


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def _volumes(all_: list[Resource]) -> Iterator[str]:
    claims = {
        claim["metadata"]["name"] for one in all_ for claim in one.get("spec", {}).get("volumeClaimTemplates", [])
    }
    for pod, _ in pods(all_):
        there = {volume["name"] for volume in pod.get("volumes", [])} | claims
        for container in containers(pod):
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in there:
                    yield f"{container['name']}: volume {mount['name']} is not there"
