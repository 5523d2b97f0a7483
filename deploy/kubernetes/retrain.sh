#!/usr/bin/env bash
# Asks the plant's Dagster for a training, as a click on "Materialize" of trained_weights does; gate and release follow by
# themselves. Nothing is trained again unless dataset, recipe, parent, libraries or the code of training changed.
# The same against any webserver: retrain.sh http://centre.plant.example:3000
set -euo pipefail
location=${LOCATION:-yolo-assets}
request=$(printf '{"executionParams": {"mode": "default", "runConfigData": {}, "selector": {"repositoryLocationName": "%s",
  "repositoryName": "__repository__", "pipelineName": "__ASSET_JOB",
  "assetSelection": [{"path": ["trained_weights"]}], "assetCheckSelection": null}}}' "$location")
ask=(dagster-graphql --remote "${1:-http://127.0.0.1:3000}" --predefined launchPipelineExecution --variables "$request")
[ $# -gt 0 ] || ask=(kubectl --namespace yolo-assets exec deploy/dagster-dagster-webserver -- "${ask[@]}")
answer=$("${ask[@]}")
case $answer in
  *LaunchRunSuccess*) echo "asked for a training: $answer" ;;
  *) echo "error: Dagster did not take the request: $answer" >&2; exit 1 ;;
esac
