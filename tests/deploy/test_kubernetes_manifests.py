"""The manifests and the Helm chart for Kubernetes: valid by Kubernetes' own description, confined, and in step with the engine."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from containers.engines.kubernetes import NEEDED, denies_all
from containers.engines.pod_manifest import MANAGED_BY, ClusterOptions, profile_name
from containers.sandbox.seccomp import seccomp_profile
from kubernetes_schema import problems

HERE = Path(__file__).parents[2] / "deploy" / "kubernetes"
SPEC = importlib.util.spec_from_file_location("render", HERE / "render.py")
render = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(render)
FILES = sorted((HERE / "manifests").glob("*.yaml"))
WORKLOADS = ("Deployment", "DaemonSet", "Job")


def documents(**changes):
    values = render.usual_values()
    values["agent"] |= changes
    texts = render.manifests(values).values()
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def one(kind, name, **changes):
    return next(found for found in documents(**changes) if (found["kind"], found["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_manifests_are_what_the_chart_gives(path):
    assert path.read_text() == render.manifests(render.usual_values())[path.name]


def test_every_manifest_is_one_of_kubernetes():
    found = documents()
    assert len(found) > 15
    assert {
        f"{document['kind']} {document['metadata']['name']}: {problem}"
        for document in found
        for problem in problems(document)
    } == set()


@pytest.mark.parametrize(
    "document", [d for d in documents() if d["kind"] in WORKLOADS], ids=lambda d: d["metadata"]["name"]
)
def test_every_program_is_confined_and_limited(document):
    spec = document["spec"]["template"]["spec"]
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["allowPrivilegeEscalation"] is False
        assert "privileged" not in security
    if document["metadata"]["name"] == "assay-seccomp":  # writes a folder of the host, and does nothing else
        assert [volume.get("hostPath", {}).get("path") for volume in spec["volumes"]] == [
            None,
            "/var/lib/kubelet/seccomp/assay",
        ]
        return
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]


def test_the_agent_may_do_what_it_needs_and_no_more():
    role = one("Role", "assay-agent")
    allowed = {
        (verb, resource)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if rule["apiGroups"] == [""]
    }
    assert allowed == set(NEEDED)
    assert not [document for document in documents() if document["kind"].startswith("Cluster")]


def test_the_network_policy_is_the_one_that_the_doctor_asks_for():
    policy = one("NetworkPolicy", "cases-reach-nobody")
    assert denies_all(policy)
    node = one("Deployment", "assay-node")["spec"]["template"]["metadata"]["labels"]
    assert MANAGED_BY not in node, "the agent itself needs the network"


@pytest.mark.parametrize("runtime_class", ["", "gvisor"])
def test_the_agents_options_are_those_of_the_engine(runtime_class):
    spec = one("Deployment", "assay-node", runtimeClass=runtime_class)["spec"]["template"]["spec"]
    variables = {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}
    options = ClusterOptions.parse(variables["ASSAY_ENGINE_OPTIONS"])
    claims = [volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"]]
    assert (options.namespace, [options.claim], options.runtime_class) == ("assay-cases", claims, runtime_class)
    assert options.courier_image == spec["containers"][0]["image"]
    for name in ("ASSAY_ENGINE_FOLDER", "ASSAY_NODE_FOLDER"):
        assert Path(variables[name]).is_relative_to(options.claim_root)


def test_the_system_call_filters_are_those_that_pods_ask_for():
    filters = {profile_name(text): text for text in (seccomp_profile(), seccomp_profile(has_loopback=True))}
    assert one("ConfigMap", "assay-seccomp")["data"] == filters
    assert {path.name: path.read_text() for path in (HERE / "chart" / "files" / "seccomp").iterdir()} == filters


def test_what_has_to_be_set_is_marked():
    text = (HERE / "chart" / "values.yaml").read_text()
    placeholders = [line for line in text.splitlines() if "example.org" in line]
    assert len(placeholders) >= 4
    assert all("# set" in line for line in placeholders)


def test_a_template_that_is_not_understood_is_refused():
    for text in ("{{ include 'x' . }}", "{{- if .Values.image }}", "{{- range .Values.x }}\n{{- end }}"):
        with pytest.raises(ValueError, match=re.escape("expected") + "|does not end"):
            render.render(text, {"image": "x", "x": []})
