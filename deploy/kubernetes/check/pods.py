"""The rules for the pods of the services and of the migrations."""


def pod_failures(resources):
    """Returns a text for each pod that has more than it needs, or that lacks a probe or a limit."""
    failures = []
    for resource in resources:
        if resource["kind"] not in ("Deployment", "Job"):
            continue
        name = f"{resource['kind']} {resource['metadata']['name']}"
        rules = privileges(resource) | (availability(resource, resources) if resource["kind"] == "Deployment" else {})
        failures += [f"{name}: {rule}" for rule, holds in rules.items() if not holds]
    return failures


def privileges(resource):
    pod = resource["spec"]["template"]["spec"]
    containers = pod["containers"] + pod.get("initContainers", [])
    security = [container.get("securityContext", {}) for container in containers]
    return {
        "no token of a service account": pod.get("automountServiceAccountToken") is False,
        "no root": pod.get("securityContext", {}).get("runAsNonRoot") is True,
        "the default seccomp profile": pod.get("securityContext", {}).get("seccompProfile")
        == {"type": "RuntimeDefault"},
        "a read-only root": all(context.get("readOnlyRootFilesystem") is True for context in security),
        "no capabilities": all(context.get("capabilities") == {"drop": ["ALL"]} for context in security),
        "no new privileges": all(context.get("allowPrivilegeEscalation") is False for context in security),
        "no volume of the node": not any("hostPath" in volume for volume in pod.get("volumes", [])),
        "a memory limit and requests": all(
            container.get("resources", {}).get("limits", {}).get("memory")
            and {"cpu", "memory"} <= container["resources"].get("requests", {}).keys()
            for container in containers
        ),
        "a tag or a digest of the image": all(
            ":" in container["image"] or "@" in container["image"] for container in containers
        ),
        "no password in its environment, only in Secrets": not any(
            "PASSWORD" in variable["name"] or "@" in variable.get("value", "")
            for container in containers
            for variable in container.get("env", [])
        ),
    }


def availability(resource, resources):
    pod = resource["spec"]["template"]["spec"]
    labels = resource["spec"]["template"]["metadata"]["labels"]
    budgets = [other["spec"]["selector"]["matchLabels"] for other in resources if other["kind"] == "PodDisruptionBudget"]
    has_budget = any(selector.items() <= labels.items() for selector in budgets)
    is_single = resource["spec"].get("replicas") == 1
    keys = {spread["topologyKey"] for spread in pod.get("topologySpreadConstraints", [])}
    return {
        "probes": all({"startupProbe", "livenessProbe", "readinessProbe"} <= c.keys() for c in pod["containers"]),
        "a disruption budget, if it has several pods": has_budget != is_single,
        "a spread over zones and nodes, if it has several pods": is_single
        or keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"},
        "at least 15 s to stop": pod.get("terminationGracePeriodSeconds", 0) >= 15,
    }
