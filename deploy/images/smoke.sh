#!/usr/bin/env bash
# Runs an image once, without a network: user, versions, and what it is for. Called by build.sh: smoke.sh TARGET IMAGE
set -euo pipefail
target=$1 image=$2

# What runs in the image; the last line of each is checked by its exit status.
common='
test "$(id -u)" = 10001
test ! -w /opt/yolo-assets
if python -m pip --version 2>/dev/null; then echo "error: pip stayed in the image" >&2; exit 1; fi
yolo-assets --version
'
archive='
mkdir -p /tmp/plant/spool
yolo-assets archive run --json --spool /tmp/plant/spool --archive /tmp/plant/archive
yolo-assets archive run --every 60 --metrics-port 9877 --spool /tmp/plant/spool --archive /tmp/plant/archive &
'
edge='
python -c "import av, cv2, onnxruntime, openvino"
yolo-assets edge init --out /tmp/edge.yaml >/dev/null 2>&1
mkdir -p /tmp/photos
cat >/tmp/agent.yaml <<YAML
device_id: smoke
spool: /tmp/agent/spool
store: /tmp/agent/store
model: line
trusted_keys: [/tmp/plant/keys/promotion.pub]
cameras: [{kind: simulated, camera_ids: [lineA_cam01], fps: 2}]
YAML
YOLO_ASSETS_HOME=/tmp/plant yolo-assets models keygen >/dev/null 2>&1
yolo-assets edge run --config /tmp/agent.yaml >/dev/null &
'
platform='
dagster --version
export DAGSTER_HOME=/tmp/dagster YOLO_ASSETS_HOME=/tmp/plant
mkdir -p /tmp/dagster && cp "$(python -c "from yolo_assets.shipped import shipped_file; print(shipped_file(\"dagster.yaml\"))")" /tmp/dagster/
yolo-assets exporter --once | grep yolo_platform_exporter_success
dagster-webserver --host 127.0.0.1 --port 3000 --module-name yolo_assets.definitions 2>/dev/null &
'
train='
python -c "import torch, torchvision, onnx, ultralytics; print(torch.__version__, ultralytics.__version__)"
'
health='
for _ in $(seq 90); do
  if python -c "from urllib.request import urlopen; urlopen(\"http://127.0.0.1:$PORT\", timeout=5)" 2>/dev/null; then
    kill $!; wait $! || true; echo healthy; exit 0
  fi
  sleep 1
done
echo "error: nothing answered at $PORT" >&2; exit 1
'
case $target in
  base) script="$common$archive PORT=9877/healthz; $health" ;;
  edge) script="$common$edge PORT=8080/healthz; $health" ;;
  platform) script="$common$platform PORT=3000/server_info; $health" ;;
  train) script="$common$train" ;;
esac
if [ "${BUILDER:-docker}" = docker ]; then
  docker run --rm --network none --read-only --tmpfs /tmp "$image" bash -euc "$script"
  docker image inspect --format "$image: {{.Size}} bytes" "$image"
else
  container=$(buildah from --pull-never "$image")
  trap 'buildah rm "$container" >/dev/null' EXIT
  # Its own network namespace, with loopback alone.
  unshare --net sh -c 'ip link set lo up 2>/dev/null || true; exec "$@"' -- \
    buildah run "$container" -- bash -euc "$script"
  mounted=$(buildah mount "$container")
  echo "$image: $(du -sm --one-file-system "$mounted" | cut -f1) MB unpacked"
  buildah umount "$container" >/dev/null
  # buildah does not run it by itself; it is there all the same, and so is the user.
  buildah inspect --type image --format '{{.Docker.Config.User}} {{.Docker.Config.Healthcheck}}' "$image" |
    grep -E '^10001:10001 .*(CMD|NONE)'
fi
