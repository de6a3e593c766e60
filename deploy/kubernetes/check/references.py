"""The names that the resources share with each other, with the services, and with other files of the repository."""

import re
from pathlib import Path

from network import labels_of_pods, selected

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"


def reference_failures(resources):
    """Returns a text for each name that does not exist at its other end."""
    settings = {
        name
        for crate in ("web-store", "transformer", "marketing", "console", "service-kit")
        for source in (ROOT / crate / "src").rglob("*.rs")
        for name in re.findall(r'env = "(\w+)"', source.read_text())
    }
    script = (DEPLOY / "kubernetes/secrets.sh").read_text()
    secrets = set(re.findall(r"^secret ([\w-]+)", script, re.MULTILINE))
    failures = [
        f"secrets.sh: no service has the setting {name}"
        for name in re.findall(r"^ +([A-Z_]+) \"", script, re.MULTILINE)
        if name not in settings
    ]
    workloads = {resource["metadata"]["name"] for resource in resources if resource["kind"] == "Deployment"}
    for resource in resources:
        name = f"{resource['kind']} {resource['metadata']['name']}"
        if resource["kind"] in ("Deployment", "Job"):
            for container in resource["spec"]["template"]["spec"]["containers"]:
                for variable in container.get("env", []):
                    if variable["name"] not in settings:
                        failures.append(f"{name}: no service has the setting {variable['name']}")
                for source in container.get("envFrom", []):
                    if source["secretRef"]["name"] not in secrets:
                        failures.append(f"{name}: secrets.sh prints no Secret {source['secretRef']['name']}")
        elif resource["kind"] in ("HorizontalPodAutoscaler", "ScaledObject"):
            if resource["spec"]["scaleTargetRef"]["name"] not in workloads:
                failures.append(f"{name}: its target does not exist")
            failures += metric_failures(name, resource)
        elif resource["kind"] == "PodMonitor":
            measured = selected(resource["spec"]["selector"], labels_of_pods(resources))
            failures += [f"{name}: does not select {service}" for service in sorted(workloads - set(measured))]
        elif resource["kind"] == "RabbitmqCluster":
            failures += broker_failures(name, resource["spec"], secrets)
    return failures


def metric_failures(name, resource):
    """Returns a text for each metric of a trigger that no rule of Prometheus records."""
    recorded = re.findall(r"record: (\S+)", (DEPLOY / "alerts/rules.yml").read_text())
    queries = [trigger["metadata"]["query"] for trigger in resource["spec"].get("triggers", [])]
    used = {metric for query in queries for metric in re.findall(r"\w+:\w+", query)}
    return [f"{name}: no rule records {metric}" for metric in sorted(used - set(recorded))]


def broker_failures(name, spec, secrets):
    """Returns a text for each Secret that does not exist, and for each shared setting of the broker that is missing."""
    lines = spec["rabbitmq"]["additionalConfig"].splitlines()
    shared = (DEPLOY / "servers/rabbitmq.conf").read_text().splitlines()
    missing = [line for line in shared if line and not line.startswith("#") and line not in lines]
    volumes = spec["override"]["statefulSet"]["spec"]["template"]["spec"]["volumes"]
    used = {volume["secret"]["secretName"] for volume in volumes} | {spec["secretBackend"]["externalSecret"]["name"]}
    return [f"{name}: lacks {line}" for line in missing] + [
        f"{name}: secrets.sh prints no Secret {secret}" for secret in sorted(used - secrets)
    ]
