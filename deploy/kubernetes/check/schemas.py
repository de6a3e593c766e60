"""The schema of each resource: those of Kubernetes, and those of custom resource definitions."""

from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = "1.37"

# The kinds that are checked only if their definitions are there.
CUSTOM = {"RabbitmqCluster", "ScaledObject", "PodMonitor"}


def close(schema):
    """Makes a schema reject unknown fields, as the server does for `kubectl apply`."""
    if isinstance(schema, list):
        for item in schema:
            close(item)
    elif isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for keyword, value in schema.items():
            close(list(value.values()) if keyword == "properties" else value)


class Schemas:
    """The schemas of Kubernetes and of the definitions in `files`."""

    def __init__(self, files):
        self.custom = {}
        self.unchecked = set()
        for file in files:
            for document in yaml.safe_load_all(Path(file).read_text()):
                # `kubectl get` prints one list.
                for definition in document.get("items", [document]) if document else []:
                    if definition["kind"] == "CustomResourceDefinition":
                        self.add(definition["spec"])

    def add(self, definition):
        for version in definition["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            close(schema)
            # Definitions leave it open.
            schema["properties"]["metadata"] = {"type": "object"}
            self.custom[f"{definition['group']}/{version['name']}", definition["names"]["kind"]] = schema

    def failures(self, resource):
        """Returns a text for each part of a resource that does not match its schema."""
        name = f"{resource['kind']} {resource['metadata']['name']}"
        try:
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)
            return []
        except kubernetes_validate.ValidationError as error:
            errors = [error]
        except kubernetes_validate.SchemaNotFoundError:
            schema = self.custom.get((resource["apiVersion"], resource["kind"]))
            if schema is None and resource["kind"] in CUSTOM:
                self.unchecked.add(resource["kind"])
                return []
            if schema is None:
                return [f"{name}: there is no {resource['apiVersion']}"]
            errors = jsonschema.Draft202012Validator(schema).iter_errors(resource)
        return [f"{name}: {'.'.join(map(str, error.path))}: {error.message}" for error in errors]
