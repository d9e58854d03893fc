"""Canaries on KServe: a Knative revision with a tag, or a twin InferenceService in Standard mode.

The door divides the users, so a canary gets no share of the plain address: a split by request would show one user now the
one, now the other. In Knative `canaryTrafficPercent: 0` keeps the new revision dark at its tag's host `latest-...` and the
stable one at the plain address; each revision is scaled by its own traffic. Standard mode ignores that field without a
word, so there the canary is an InferenceService of its own, with its own autoscaling, and the field is refused.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from components.artifacts.errors import ConfigError, NotFoundError, RecsysError

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
MODE = "serving.kserve.io/deploymentMode"
TAG_ROUTING = "serving.kserve.io/enable-tag-routing"
ROLLOUT_LABEL = "recsys.dev/canary-of"
KNATIVE, STANDARD = frozenset({"Knative", "Serverless"}), frozenset({"Standard", "RawDeployment"})
"""Names of the modes; the second of each is the one of KServe before 0.16."""
UNKNOWN, DENIED, MISSING, CONFLICT = 401, 403, 404, 409
AGAIN = frozenset({CONFLICT, 429, 500, 503, 504})
ATTEMPTS = 5
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation in which `kubectl apply` keeps what it was given: of the object that has it, not of a copy."""
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod with a token finds it."""
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
"""Label of an InferenceService's pods."""
MANAGER = "recsys-rollout"
"""Owner of what a rollout sets, among an object's managed fields: manifests that are applied leave these fields out."""
CANARY_ENV = {"name": "RECSYS_VARIANT", "value": "canary"}
"""What its server calls itself in logs and metrics."""

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""
Answer = TypeVar("Answer")


class ClusterError(RecsysError):
    """The cluster refused; the message says what was asked and what it said."""


@dataclass
class Services:
    """The InferenceServices of a namespace. What may pass by itself is tried again.

    Attributes:
        namespace: Of all of them.
        api: Of the real client.
        pause: Seconds to wait after the n-th failure.
    """

    namespace: str
    api: client.CustomObjectsApi = field(default_factory=client.CustomObjectsApi)
    pause: Callable[[int], float] = lambda attempt: 0.2 * 2**attempt

    @classmethod
    def of_surroundings(cls, namespace: str | None) -> Self:
        """With the account of the pod, or that of the kubeconfig outside of a cluster.

        Args:
            namespace: None for the pod's own, or that of the kubeconfig's context.

        Raises:
            ConfigError: There is neither.
        """
        try:
            config.load_config()
        except config.ConfigException as error:
            raise ConfigError(f"cluster: neither a pod's account nor a kubeconfig ({error}).") from error
        return cls(namespace or _own_namespace())

    def find(self, name: str) -> Manifest | None:
        """None where there is none."""
        try:
            found: Manifest = self._tried(
                f"get {name}", lambda: self.api.get_namespaced_custom_object(*self._kind(), name)
            )
            return found
        except NotFoundError:
            return None

    def require(self, name: str) -> Manifest:
        """Raises NotFoundError where there is none."""
        found = self.find(name)
        if found is None:
            raise NotFoundError(f"InferenceService {self.namespace}/{name}: there is none. Apply the manifests first.")
        return found

    def patch(self, name: str, change: Manifest) -> None:
        """A JSON merge patch: null takes a field away."""
        self._tried(
            f"patch {name}",
            lambda: self.api.patch_namespaced_custom_object(*self._kind(), name, change, field_manager=MANAGER),
        )

    def create(self, manifest: Manifest) -> None:
        """Harmless where it is there already, whoever made it; one that is being deleted is waited for, a few seconds.

        Raises:
            ClusterError: It does not go, or the cluster refused.
        """
        name = manifest["metadata"]["name"]
        for attempt in range(ATTEMPTS):
            found = self.find(name)
            if found is None:
                self._tried(f"create {name}", lambda: self._create_once(manifest))
                return
            if "deletionTimestamp" not in found["metadata"]:
                return
            time.sleep(self.pause(attempt))
        raise ClusterError(
            f"InferenceService, create {name} in {self.namespace}: the former one is being deleted and is not gone yet. "
            "Run the command again: it goes on where it stopped."
        )

    def _create_once(self, manifest: Manifest) -> None:
        """A server answers 409 to a name that is taken as well; that does not pass by itself, and is what was wanted."""
        try:
            self.api.create_namespaced_custom_object(*self._kind(), manifest, field_manager=MANAGER)
        except ApiException as error:
            if _reason(error) != "AlreadyExists":
                raise

    def delete(self, name: str) -> None:
        """Harmless where there is none."""
        try:
            self._tried(f"delete {name}", lambda: self.api.delete_namespaced_custom_object(*self._kind(), name))
        except NotFoundError:
            return

    def _kind(self) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self.namespace, PLURAL

    def _tried(self, what: str, ask: Callable[[], Answer]) -> Answer:
        for attempt in range(ATTEMPTS):
            try:
                return ask()
            except ApiException as error:
                if error.status == MISSING:
                    raise NotFoundError(f"InferenceService, {what}: not found in {self.namespace}.") from error
                if error.status not in AGAIN or attempt + 1 == ATTEMPTS:
                    raise ClusterError(self._refusal(what, error)) from error
                time.sleep(self.pause(attempt))
        raise AssertionError("the last attempt returns or raises")

    def _refusal(self, what: str, error: ApiException) -> str:
        advice = {
            UNKNOWN: "The token or certificate is wrong or has expired: log in to the cluster again.",
            DENIED: f"Give this account that verb on {PLURAL}.{GROUP} there.",
        }.get(error.status, "Run the command again: it goes on where it stopped.")
        return f"InferenceService, {what} in {self.namespace}: {error.status} {error.reason}. {advice}"


@dataclass(frozen=True)
class KnativeTarget:
    """Revisions of one InferenceService."""

    services: Services
    name: str

    def stable_uri(self) -> str | None:
        """As long as no canary is there: the same field names its bundle."""
        return _uri(self._service())

    def deploy(self, bundle: str, uri: str, *, share: float) -> str:
        """Any edit of the spec makes a new revision, so what is so already is left alone; Knative scales by traffic."""
        del bundle, share
        found = self._service()
        predictor = found["spec"]["predictor"]
        if _uri(found) != uri or predictor.get("canaryTrafficPercent") != 0 or not _has_tags(found):
            change = {"canaryTrafficPercent": 0, "model": {"storageUri": uri}}
            self.services.patch(
                self.name, {"metadata": {"annotations": {TAG_ROUTING: "true"}}, "spec": {"predictor": change}}
            )
        return f"http://latest-{self.name}-predictor.{self.services.namespace}.svc.cluster.local"

    def promote(self, bundle: str, uri: str) -> None:
        """Without the field all traffic goes to the latest revision."""
        del bundle
        self._settle(uri)

    def withdraw(self, bundle: str, uri: str) -> None:
        """The stable bundle becomes the latest revision again."""
        del bundle
        self._settle(uri)

    def _settle(self, uri: str) -> None:
        found = self._service()
        if _uri(found) != uri or "canaryTrafficPercent" in found["spec"]["predictor"]:
            change = {"canaryTrafficPercent": None, "model": {"storageUri": uri}}
            self.services.patch(self.name, {"spec": {"predictor": change}})

    def _service(self) -> Manifest:
        return _of_mode(self.services.require(self.name), KNATIVE, "Knative")


@dataclass(frozen=True)
class StandardTarget:
    """Twin InferenceServices."""

    services: Services
    name: str

    @property
    def twin(self) -> str:
        """Name of the canary."""
        return f"{self.name}-canary"

    def stable_uri(self) -> str | None:
        """A canary is a service of its own."""
        return _uri(self._stable())

    def deploy(self, bundle: str, uri: str, *, share: float) -> str:
        """The stable service again, with the canary's bundle and its share of the replicas, at least one."""
        del bundle
        stable = self._stable()
        replicas = max(1, math.ceil(stable["spec"]["predictor"].get("minReplicas", 1) * share))
        self.services.create(twin_of(stable, self.twin, uri, replicas))
        found = self.services.require(self.twin)
        if _uri(found) != uri or found["spec"]["predictor"].get("minReplicas") != replicas:
            self.services.patch(
                self.twin, {"spec": {"predictor": {"minReplicas": replicas, "model": {"storageUri": uri}}}}
            )
        return f"http://{self.twin}-predictor.{self.services.namespace}.svc.cluster.local"

    def promote(self, bundle: str, uri: str) -> None:
        """The twin stays, for users are still there; `withdraw` ends it."""
        del bundle
        if _uri(self._stable()) != uri:
            self.services.patch(self.name, {"spec": {"predictor": {"model": {"storageUri": uri}}}})

    def withdraw(self, bundle: str, uri: str) -> None:
        """Stable is not touched."""
        del bundle, uri
        self.services.delete(self.twin)

    def _stable(self) -> Manifest:
        found = _of_mode(self.services.require(self.name), STANDARD, "Standard")
        if "canaryTrafficPercent" in found["spec"]["predictor"]:
            raise ConfigError(
                f"InferenceService {self.services.namespace}/{self.name}: canaryTrafficPercent is ignored in Standard mode, "
                "so no canary would be there. Take the field out."
            )
        return found


def _own_namespace() -> str:
    """The pod's, or that of the kubeconfig's context."""
    if OWN_NAMESPACE.is_file():
        return OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    _, context = config.list_kube_config_contexts()
    return str(context["context"].get("namespace", "default"))


def twin_of(stable: Manifest, name: str, uri: str, replicas: int) -> Manifest:
    """What people wrote of stable, under another name: nothing of what the server or KServe keeps in its metadata.

    Args:
        stable: An InferenceService as the API server gives it.
        name: Of the twin.
        uri: Of the candidate's bundle.
        replicas: At least so many pods.
    """
    metadata, predictor = stable["metadata"], stable["spec"]["predictor"]
    annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key != LAST_APPLIED}
    env = [one for one in predictor["model"].get("env", []) if one["name"] != CANARY_ENV["name"]]
    own = {"minReplicas": replicas, "model": predictor["model"] | {"storageUri": uri, "env": [*env, CANARY_ENV]}}
    if "topologySpreadConstraints" in predictor:
        own["topologySpreadConstraints"] = [
            _of_pods(one, metadata["name"], name) for one in predictor["topologySpreadConstraints"]
        ]
    if "autoScaling" in predictor:  # a query names the pods whose load it asks for
        text = json.dumps(predictor["autoScaling"])
        own["autoScaling"] = json.loads(text.replace(f"{metadata['name']}-predictor", f"{name}-predictor"))
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "labels": metadata.get("labels", {}) | {ROLLOUT_LABEL: metadata["name"]},
            "annotations": annotations,
        },
        "spec": stable["spec"] | {"predictor": predictor | own},
    }


def _of_pods(constraint: Manifest, stable: str, twin: str) -> Manifest:
    """A twin spread over nodes by where its own pods are, not stable's."""
    selector = constraint.get("labelSelector", {})
    labels = selector.get("matchLabels", {})
    if labels.get(SERVICE_LABEL) != stable:
        return constraint
    return constraint | {"labelSelector": selector | {"matchLabels": labels | {SERVICE_LABEL: twin}}}


def _reason(error: ApiException) -> str | None:
    """Kubernetes' own word for a refusal; None where something between answered."""
    try:
        reason: str | None = json.loads(error.body or "{}").get("reason")
    except (ValueError, AttributeError):
        return None
    return reason


def _of_mode(found: Manifest, modes: frozenset[str], wanted: str) -> Manifest:
    given = found["metadata"].get("annotations", {}).get(MODE)
    if given not in modes:
        raise ConfigError(
            f"InferenceService {found['metadata']['name']}: annotation {MODE} is {given}, the rollout's target is {wanted}. "
            "Name the target that is there."
        )
    return found


def _uri(found: Manifest) -> str | None:
    uri: str | None = found["spec"]["predictor"]["model"].get("storageUri")
    return uri


def _has_tags(found: Manifest) -> bool:
    return bool(found["metadata"].get("annotations", {}).get(TAG_ROUTING) == "true")
