#!/bin/sh
# Prints deploy/alerts/rules.yml as a resource of the Prometheus Operator:
#
#     deploy/kubernetes/prometheus-rules.sh | kubectl apply -f -
set -eu

cat <<YAML
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: customers, namespace: customers}
spec:
YAML
sed 's/^/  /' "$(dirname "$0")/../alerts/rules.yml"
