"""The connections that the network policies allow, and those of the picture in README.md."""

# From, to, and port. A name that is not a pod is a namespace. `address` is a network that a policy names.
PICTURE = {
    ("ingress-nginx", "web-store", "http"),
    ("web-store", "broker", 5672),
    ("transformer", "broker", 5672),
    ("marketing", "broker", 5672),
    ("web-store", "address", 5432),
    ("web-store-migrate", "address", 5432),
    ("marketing", "address", 3306),
    ("marketing-migrate", "address", 3306),
    # The console compares both applications.
    ("console", "broker", 5672),
    ("console", "address", 5432),
    ("console", "address", 3306),
    # The nodes of the broker, and the operator that manages them.
    ("broker", "broker", 4369),
    ("broker", "broker", 25672),
    ("broker", "broker", 35672),
    ("rabbitmq-system", "broker", 15672),
    ("monitoring", "web-store", "metrics"),
    ("monitoring", "transformer", "metrics"),
    ("monitoring", "marketing", "metrics"),
    ("monitoring", "console", "metrics"),
}
NAMES = 53


def network_failures(resources):
    """Returns a text for each connection that only the policies or only the picture has."""
    pods = labels_of_pods(resources)
    policies = [resource["spec"] for resource in resources if resource["kind"] == "NetworkPolicy"]
    isolated = any(
        policy["podSelector"] == {} and set(policy["policyTypes"]) == {"Ingress", "Egress"} for policy in policies
    )
    incoming = {(other, pod, port) for pod, other, port in rules(policies, pods, "ingress", "from")}
    outgoing = {(pod, other, port) for pod, other, port in rules(policies, pods, "egress", "to")}
    # A connection between two pods needs a rule at each of them.
    allowed = incoming & outgoing
    allowed |= {arrow for arrow in incoming if arrow[0] not in pods}
    allowed |= {arrow for arrow in outgoing if arrow[1] not in pods and arrow[2] != NAMES}
    return (
        ([] if isolated else ["no policy forbids everything else"])
        + [f"the policies allow {arrow}, and the picture does not" for arrow in sorted(allowed - PICTURE, key=str)]
        + [f"the picture has {arrow}, and the policies forbid it" for arrow in sorted(PICTURE - allowed, key=str)]
        + [f"only one end allows {arrow}" for arrow in sorted((incoming | outgoing) - PICTURE - allowed, key=str)
           if arrow[2] != NAMES]
    )


def labels_of_pods(resources):
    """Returns the labels of the pods of each workload, by its name."""
    pods = {}
    for resource in resources:
        name = resource["metadata"]["name"]
        if resource["kind"] in ("Deployment", "Job"):
            pods[name] = resource["spec"]["template"]["metadata"]["labels"]
        elif resource["kind"] == "RabbitmqCluster":
            # The Cluster Operator sets it.
            pods[name] = {"app.kubernetes.io/name": name}
    return pods


def rules(policies, pods, direction, side):
    """Yields the pod, the other end, and the port of each rule in one direction."""
    for policy in policies:
        for pod in selected(policy["podSelector"], pods):
            for rule in policy.get(direction, []):
                for peer in rule.get(side, [{}]):
                    for other in ends(peer, pods):
                        for port in rule.get("ports", [{"port": "every port"}]):
                            yield pod, other, port["port"]


def ends(peer, pods):
    """Returns the names at the other end of a rule."""
    if "ipBlock" in peer:
        return ["everywhere" if peer["ipBlock"]["cidr"].endswith("/0") else "address"]
    if "namespaceSelector" in peer:
        return [peer["namespaceSelector"].get("matchLabels", {}).get("kubernetes.io/metadata.name", "every namespace")]
    if "podSelector" in peer:
        return selected(peer["podSelector"], pods)
    return ["everywhere"]


def selected(selector, pods):
    """Returns the names of the pods that a label selector selects."""
    expressions = selector.get("matchExpressions", [])
    return [
        name
        for name, labels in pods.items()
        if selector.get("matchLabels", {}).items() <= labels.items()
        and all(rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"] for rule in expressions)
    ]
