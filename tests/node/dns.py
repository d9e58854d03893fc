"""The cluster's DNS as it is everywhere: CoreDNS in kube-system, behind the Service that every pod's resolv.conf names."""

from tests.k8s.manifests import Resource
from tests.node.controllers import apply, await_rollout
from tests.node.images import load_program
from tests.node.place import Place, ctr

ADDRESS = "10.96.0.10"
IMAGE = "registry.k8s.io/coredns/coredns:v1.14.5"
LABELS = {"k8s-app": "kube-dns"}
NAMED = {"name": "coredns", "namespace": "kube-system"}
COREFILE = """\
.:53 {
    errors
    ready
    kubernetes cluster.local in-addr.arpa
    cache 5
}
"""
"""Names of the cluster alone: pods reach nothing outside. The port is the one that network policies let through."""


def install(place: Place) -> None:
    """Bring image and manifests; answers when it returns."""
    kubeconfig = place.config("admin")
    load_program(place.programs / "coredns", IMAGE, ctr=ctr(place), name="coredns")
    apply(_manifests(), kubeconfig)
    await_rollout("kube-system", "deployment/coredns", kubeconfig)


def _manifests() -> list[Resource]:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "coredns"}
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    container = {
        "name": "coredns",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    ports = [{"name": name.lower(), "protocol": name, "port": 53, "targetPort": 53} for name in ("UDP", "TCP")]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": NAMED},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "coredns"},
            "rules": rules,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "coredns"},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **NAMED}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": NAMED, "data": {"Corefile": COREFILE}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": NAMED,
            "spec": {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": pod}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": ADDRESS, "selector": LABELS, "ports": ports},
        },
    ]
