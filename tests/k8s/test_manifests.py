"""What would be sent to a cluster: rendered, strictly valid, whole, restricted, and what the product understands.

The linters for manifests are programs that no registry at hand ships (kube-linter, kubeconform) or that bring a hundred
packages along (checkov), so Pod Security's `restricted`, which the namespace also enforces, is written here as tests.
"""

import copy
import os
import re
from importlib.util import find_spec
from urllib.parse import urlsplit

import click
import pytest
import typer
import uvicorn
import yaml

from components.artifacts.model_registry import BUNDLES, URL, ModelRegistryConfig
from components.artifacts.model_registry import VARIABLES as MODEL_REGISTRY
from feature_repo.store_config import ONLINE_STORE_URL, REGISTRY_URL
from monitoring.metrics import PUSHGATEWAY_NAMESPACE
from monitoring.workspace import FOLDER as WORKSPACE
from pipelines.cli.main import app
from pipelines.cli.options import STEP_IMAGE_VARIABLE, TARGET_VARIABLE
from pipelines.cluster_canary import parse_address
from pipelines.config import load_config
from serving.api.settings import DoorSettings, door_settings
from serving.settings import Settings, settings_from_environment
from serving.stream.mirror.mirror import FOLDER as PLACES
from serving.stream.settings import KafkaSettings, kafka_settings
from tests.k8s.manifests import (
    GOLDEN,
    K8S,
    OVERLAYS,
    RENDERED,
    containers,
    name,
    pods,
    readmes_resources,
    render,
    render_alone,
    resources,
)
from tests.k8s.references import dangling, documented_secrets
from tests.k8s.validation import mistakes


@pytest.fixture(scope="session", params=RENDERED)
def rendered(request, tmp_path_factory):
    """An overlay, or a component alone on the base."""
    return resources(render_alone(request.param, tmp_path_factory.mktemp("alone")))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_is_the_golden_one(overlay):
    text = render(K8S / "overlays" / overlay)
    assert text == (GOLDEN / f"{overlay}.yaml").read_text(), (
        f"if the change is meant: .venv/bin/kubectl kustomize k8s/overlays/{overlay} > tests/golden/k8s/{overlay}.yaml"
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_only_differs(overlay):
    """It holds values: no workload of its own, and few lines."""
    folder = K8S / "overlays" / overlay
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert kustomization["resources"] == ["../../base"]
    assert sum(len(path.read_text().splitlines()) for path in folder.iterdir()) <= 80


def test_every_resource_is_valid_and_unknown_fields_are_refused(rendered):
    assert [mistake for one in rendered for mistake in mistakes(one)] == []


def test_resources_that_the_readme_shows_are_valid():
    shown = readmes_resources()
    assert {"KafkaTopic", "KafkaUser", "Gateway"} <= {one["kind"] for one in shown}
    assert [mistake for one in shown for mistake in mistakes(one)] == []


def test_everything_that_is_named_is_there(rendered):
    assert dangling(rendered) == []


def test_no_manifest_says_what_rollouts_decide(rendered):
    """What an apply carries it brings back: the former bundle after a promotion, in Knative mode its former revision as well."""
    for service in (one for one in rendered if one["kind"] == "InferenceService"):
        predictor = service["spec"]["predictor"]
        assert not {"storageUri", "storageUris", "storage"} & set(predictor["model"])
        assert "canaryTrafficPercent" not in predictor


def test_every_resource_is_in_the_namespace_and_labelled_by_convention(rendered):
    for one in rendered:
        if one["kind"] == "Namespace":
            continue
        assert one["metadata"].get("namespace") == "recsys", name(one)
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "recsys", name(one)
        if one["kind"] != "ConfigMap":
            assert "app.kubernetes.io/name" in one["metadata"]["labels"], name(one)


def test_every_pod_is_restricted(rendered):
    for pod, labels in pods(rendered):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, labels
        assert security["runAsUser"] > 0, labels
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, labels
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert all(
            set(volume) <= {"name", "configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"}
            for volume in pod.get("volumes", [])
        )
        for container in containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, container["name"]
            assert own["readOnlyRootFilesystem"] is True, container["name"]
            assert own["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_no_pod_gets_a_token_of_the_api_server_that_it_does_not_use(rendered):
    granted = {subject["name"] for one in rendered if one["kind"] == "RoleBinding" for subject in one["subjects"]}
    for pod, labels in pods(rendered):
        assert pod["serviceAccountName"] != "default", labels
        assert pod["automountServiceAccountToken"] is False or pod["serviceAccountName"] in granted, labels
    assert not any(one["kind"] in {"ClusterRole", "ClusterRoleBinding"} for one in rendered)


def test_every_container_has_requests_a_memory_limit_and_a_pinned_image(rendered):
    for pod, _ in pods(rendered):
        for container in containers(pod):
            resources_ = container["resources"]
            assert {"cpu", "memory"} <= set(resources_["requests"]), container["name"]
            assert resources_["limits"]["memory"] == resources_["requests"]["memory"] or container["name"] == "door"
            tag = container["image"].rpartition("/")[2]
            assert ":" in tag or "@sha256:" in tag, container["image"]
            assert not tag.endswith(":latest")


def test_what_answers_is_probed_drained_and_guarded_against_disruption(rendered):
    for pod, labels in pods(rendered):
        if labels["app.kubernetes.io/component"] not in {"door", "recommender", "stream", "mirror"}:
            continue
        [container] = pod["containers"]
        assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe")} == {"/healthz"}
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        if labels["app.kubernetes.io/component"] in {"stream", "mirror"}:
            continue  # nobody sends it requests that would have to go elsewhere
        if "containerConcurrency" in pod:  # Knative drains by its own proxy and takes neither of these
            assert "lifecycle" not in container
            continue
        seconds = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pod["terminationGracePeriodSeconds"] > seconds + 10


def test_no_secret_is_in_the_repository(rendered):
    assert [name(one) for one in rendered if one["kind"] == "Secret"] == []


def test_settings_are_the_products_own(rendered, monkeypatch, tmp_path):
    given = {key: value for one in rendered if one["kind"] == "ConfigMap" for key, value in one["data"].items()}
    variables = {key: value for key, value in given.items() if key.startswith("RECSYS_")}
    for pod, _ in pods(rendered):
        for container in containers(pod):
            variables |= {
                one["name"]: one.get("value", "of a Secret")
                for one in container.get("env", [])
                if one["name"].startswith("RECSYS_")
            }
    known = {f"RECSYS_{field.upper()}" for field in Settings.model_fields} | {REGISTRY_URL, ONLINE_STORE_URL}
    known |= {f"RECSYS_API_{field.upper()}" for field in DoorSettings.model_fields}
    known |= {f"RECSYS_KAFKA_{field.upper()}" for field in KafkaSettings.model_fields}
    known |= {TARGET_VARIABLE, STEP_IMAGE_VARIABLE, PUSHGATEWAY_NAMESPACE, *MODEL_REGISTRY}
    assert set(variables) <= known
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert settings_from_environment().bundle == "/mnt/models"
    assert "stable" in door_settings().upstreams
    assert (ModelRegistryConfig.of_environment() is None) == (not set(variables) & set(MODEL_REGISTRY))
    if "RECSYS_KAFKA_BOOTSTRAP_SERVERS" in variables:
        assert kafka_settings().connection()["security.protocol"] == "SASL_SSL"


def test_whoever_moves_rollouts_tells_model_registry_where_bundles_lie(tmp_path):
    """Where the rollouts' target has its bundles as well; the component stands after the one that brings the workloads."""
    made = {
        "resources": [os.path.relpath(K8S / "base", tmp_path.resolve())],
        "components": [
            os.path.relpath(K8S / "components" / one, tmp_path.resolve())
            for one in ("standard-canary", "model-registry")
        ],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(made))
    all_ = resources(render(tmp_path))
    data = {one["metadata"]["name"]: one["data"] for one in all_ if one["kind"] == "ConfigMap"}
    [told] = [key for key in data if key.startswith("recsys-model-registry-")]
    [target] = [one[TARGET_VARIABLE] for one in data.values() if TARGET_VARIABLE in one]
    assert data[told][BUNDLES] == parse_address(target).bundles
    telling = {
        labels["app.kubernetes.io/name"]
        for pod, labels in pods(all_)
        for container in pod["containers"]
        if {"configMapRef": {"name": told}} in container.get("envFrom", [])
    }
    assert telling == {"recsys-operations", "judge-rollout"}
    [policy] = [one["spec"] for one in all_ if name(one) == "NetworkPolicy/operations"]
    [ports] = [rule["ports"] for rule in policy["egress"] if "kubeflow" in str(rule.get("to"))]
    assert urlsplit(data[told][URL]).port in {port["port"] for port in ports}


def test_autoscaler_asks_for_the_lag_of_the_group_that_the_consumers_are(rendered):
    for one in rendered:
        if name(one) == "ScaledObject/recsys-stream":
            [config] = [other["data"] for other in rendered if "RECSYS_KAFKA_TOPIC" in other.get("data", {})]
            [trigger] = one["spec"]["triggers"]
            asked = {key: trigger["metadata"][key] for key in ("bootstrapServers", "consumerGroup", "topic")}
            assert list(asked.values()) == [
                config[f"RECSYS_KAFKA_{key}"] for key in ("BOOTSTRAP_SERVERS", "GROUP", "TOPIC")
            ]


@pytest.mark.parametrize("component", ["keda", "kafka-keda"])
def test_autoscaler_that_gets_no_answer_takes_no_pod_away(component, tmp_path):
    """And what KEDA warns has no effect is not said: a cooldown where there always is a pod."""
    all_ = resources(render_alone(f"components/{component}", tmp_path))
    [scaled] = [one["spec"] for one in all_ if one["kind"] == "ScaledObject"]
    assert scaled["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert scaled["minReplicaCount"] <= scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"]
    assert not (scaled["minReplicaCount"] and "cooldownPeriod" in scaled)
    for trigger in scaled["triggers"]:
        assert trigger["type"] != "prometheus" or trigger["metadata"]["ignoreNullValues"] == "false"


def test_mirror_is_one_and_writes_nothing_of_the_state_folder_but_its_place(tmp_path):
    all_ = resources(render_alone("components/kafka-mirror", tmp_path))
    [mirror] = [one for one in all_ if name(one) == "StatefulSet/recsys-mirror"]
    assert mirror["spec"]["replicas"] == 1
    [container] = mirror["spec"]["template"]["spec"]["containers"]
    homes = [one for one in container["volumeMounts"] if one["name"] == "home"]
    written = {(one["mountPath"], one["subPath"]) for one in homes if not one.get("readOnly")}
    assert written == {(f"/var/lib/recsys/{PLACES}", str(PLACES))}
    assert [one["mountPath"] for one in homes if one.get("readOnly")] == ["/var/lib/recsys"]


def test_evidentlys_pages_see_their_workspace_alone_and_write_nothing(tmp_path):
    all_ = resources(render_alone("components/evidently", tmp_path))
    [pages] = [pod for pod, labels in pods(all_) if labels["app.kubernetes.io/name"] == "recsys-evidently"]
    [container] = pages["containers"]
    [home] = [one for one in container["volumeMounts"] if one["name"] == "home"]
    assert (home["mountPath"], home["subPath"]) == (f"/var/lib/recsys/{WORKSPACE}", str(WORKSPACE))
    assert home["readOnly"] is True
    assert {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} == {
        "/healthz"
    }


def test_alert_on_failed_jobs_knows_every_job(rendered):
    """A clock's job that nobody watches fails for weeks."""
    jobs = {one["metadata"]["name"] for one in rendered if one["kind"] == "CronJob"}
    rules = [one for one in rendered if one["kind"] == "PrometheusRule"]
    texts = [rule["expr"] for one in rules for group in one["spec"]["groups"] for rule in group["rules"]]
    watched = re.findall(r"job_name=~\"\(([a-z|-]+)\)", "".join(texts))
    assert all(jobs <= set(names.split("|")) for names in watched)
    assert len(watched) == len(rules)


def test_gateway_and_door_believe_the_same_identity_provider(rendered):
    policies = [one for one in rendered if one["kind"] == "SecurityPolicy"]
    doors = [one["data"] for one in rendered if one["kind"] == "ConfigMap" and "RECSYS_API_JWT_ISSUER" in one["data"]]
    assert len(policies) == len(doors)
    for policy, door in zip(policies, doors, strict=True):
        [provider] = policy["spec"]["jwt"]["providers"]
        assert provider["issuer"] == door["RECSYS_API_JWT_ISSUER"]
        assert provider["audiences"] == [door["RECSYS_API_JWT_AUDIENCE"]]
        assert provider["remoteJWKS"]["uri"] == door["RECSYS_API_JWT_JWKS"]


def test_gateway_gives_an_idle_connection_up_before_the_door_does(rendered):
    kept = uvicorn.Config("the door's, which says nothing else", log_config=None).timeout_keep_alive
    for one in rendered:
        if one["kind"] == "BackendTrafficPolicy":
            assert int(one["spec"]["timeout"]["http"]["connectionIdleTimeout"].removesuffix("s")) < kept


def test_commands_are_the_products_own(rendered):
    group = typer.main.get_command(app)
    for pod, _ in pods(rendered):
        for container in containers(pod):
            if "command" in container and container["command"][:2] == ["python", "-m"]:
                assert find_spec(f"{container['command'][2]}.__main__"), container["command"]
            elif "recsys-pipeline" in container["image"]:
                understood(group, container["args"])


def understood(command: click.Command, arguments: list[str]) -> None:
    """Raise where the command line would: an unknown command or option, a wrong value."""
    context = click.Context(command)
    while isinstance(command, click.Group):
        _, command, arguments = command.resolve_command(context, arguments)
        assert command is not None
        context = click.Context(command, parent=context)
    command.make_context(command.name, list(arguments), parent=context)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_configuration_of_the_jobs_is_one_that_the_product_takes(overlay, tmp_path):
    [config] = [
        one["data"]["pipeline.yaml"]
        for one in resources(render(K8S / "overlays" / overlay))
        if one["kind"] == "ConfigMap" and "pipeline.yaml" in one.get("data", {})
    ]
    (tmp_path / "pipeline.yaml").write_text(config)
    assert load_config(str(tmp_path / "pipeline.yaml")).as_of


@pytest.fixture(scope="module")
def staging():
    return resources(render(K8S / "overlays" / "staging"))


@pytest.mark.parametrize("chosen", ["components/kubeflow-pipelines", "components/spark"])
def test_rights_in_another_namespace_are_its_own_accounts(chosen, tmp_path):
    """A namespace that is written into a binding stays there when an overlay moves everything else."""
    bindings = [one for one in resources(render_alone(chosen, tmp_path, "shop")) if one["kind"] == "RoleBinding"]
    assert bindings
    for one in bindings:
        assert {one["metadata"]["namespace"], *(subject["namespace"] for subject in one["subjects"])} == {"shop"}


@pytest.mark.parametrize("chosen", RENDERED)
def test_nothing_is_left_of_the_manifests_own_namespace_in_another(chosen, tmp_path):
    """What a query has in it is seen by nobody but a Prometheus that finds nothing."""
    moved = render_alone(chosen, tmp_path, "shop")
    named = re.findall(r'namespace(?:=~?|: )\\*"?(\$?[\w()-]+)', moved)
    assert "shop" in named
    assert not {"recsys", "$(RECSYS_NAMESPACE)"} & set(named)
    assert ".recsys.svc" not in moved


@pytest.mark.parametrize("chosen", ["components/keda", "overlays/production"])
def test_autoscalers_ask_for_their_own_namespace_wherever_they_are(chosen, tmp_path):
    scaled = {"ScaledObject/recsys-door": 0, "InferenceService/recommender": 0}
    for one in resources(render_alone(chosen, tmp_path, "shop")):
        if name(one) in scaled:
            scaled[name(one)] += yaml.safe_dump(one, width=1000).count('{namespace="shop"')
    assert scaled == {"ScaledObject/recsys-door": 1, "InferenceService/recommender": 1}


def test_field_that_no_kind_has_is_refused(staging):
    for kind in ("Deployment", "InferenceService", "PodMonitor"):
        broken = copy.deepcopy(next(one for one in staging if one["kind"] == kind))
        broken["spec"]["replica"] = 2
        assert any("replica" in mistake for mistake in mistakes(broken)), kind


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("ConfigMap", "pod of recsys-.*: ConfigMap/recsys-.* is not there"),
        ("ServiceAccount", "ServiceAccount/recsys-door is not there"),
        ("PersistentVolumeClaim", "PersistentVolumeClaim/recsys-home is not there"),
        ("Service", "ConfigMap/recsys-door-.*: Service/recommender-stable is not there"),
        ("Deployment", "PodDisruptionBudget/recsys-door: selects no pod"),
        ("Deployment", "Service/recsys-door: http is closed"),
    ],
)
def test_reference_that_leads_nowhere_is_found(staging, kind, sentence):
    found = dangling([one for one in staging if one["kind"] != kind])
    assert any(re.search(sentence, line) for line in found), found


def test_secrets_of_the_readme_are_those_that_are_read():
    texts = "".join(path.read_text() for path in K8S.rglob("*.yaml"))
    assert documented_secrets()
    assert {secret for secret in documented_secrets() if secret not in texts} == set()
