"""Checks rendered resources of Kubernetes: python check RESOURCES [DEFINITIONS...]

RESOURCES is the output of `kubectl kustomize`. DEFINITIONS are files with custom resource definitions, for example those
of RabbitMQ's Cluster Operator, KEDA, and the Prometheus Operator. The exit status is 1 if a check fails.
"""

import sys
from pathlib import Path

import yaml

from network import network_failures
from pods import pod_failures
from references import reference_failures
from schemas import Schemas

if len(sys.argv) < 2:
    sys.exit(__doc__)
resources = [resource for resource in yaml.safe_load_all(Path(sys.argv[1]).read_text()) if resource]
schemas = Schemas(sys.argv[2:])
failures = [failure for resource in resources for failure in schemas.failures(resource)]
# The rules read fields that the schemas require.
if not failures:
    failures = pod_failures(resources) + network_failures(resources) + reference_failures(resources)
for failure in failures:
    print(failure)
if schemas.unchecked:
    print("without a definition, and not checked:", ", ".join(sorted(schemas.unchecked)))
print(f"{len(resources)} resources, {len(failures)} failures")
sys.exit(1 if failures else 0)
