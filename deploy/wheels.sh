#!/usr/bin/env bash
# Builds the wheel of yolo_assets and a folder of pinned wheels for machines without a network: `make dist`.
#
#   deploy/wheels.sh OUT EXTRA...        base, s3, archive, edge, edge-onnxruntime, edge-openvino, platform, train, k8s,
#                                        events-kafka, events-nats, all
#
# OUT gets yolo_assets-<version>-py3-none-any.whl, wheels/ with every wheel of every extra named, each file once, and
# wheels/requirements-<extra>.txt, the pinned list of one extra. On the other machine, which needs this Python version
# and processor architecture:
#
#   pip install --no-index --no-deps --find-links wheels -r wheels/requirements-edge.txt
#
# Nothing installs by the name yolo-assets alone: on the public index that name is free, and anyone may take it.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
shift
[ $# -gt 0 ] || { echo "error: name the extras to pack, like: deploy/wheels.sh dist edge archive" >&2; exit 2; }
bin=${BIN:-.venv/bin}

rm -rf "$out/wheels"
mkdir -p "$out/wheels"
"$bin/python" -m hatchling build --target wheel --directory "$out" >/dev/null
wheel=$(ls -t "$out"/yolo_assets-*.whl | head -n 1)
version=$(basename "$wheel" | cut -d- -f2)
cp "$wheel" "$out/wheels/"

for extra in "$@"; do
  list="$out/wheels/requirements-$extra.txt"
  chosen=("--extra" "$extra")
  [ "$extra" = base ] && chosen=()
  # The pins of constraints.txt without what overrides.txt leaves out.
  "$bin/uv" pip compile --quiet --python "$bin/python" --constraint constraints.txt --override overrides.txt \
    --no-header --no-annotate --no-emit-index-url "${chosen[@]}" pyproject.toml --output-file "$list"
  # wheel, not download: a package that publishes only its source is built here.
  "$bin/python" -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir "$out/wheels" --requirement "$list"
  echo "yolo-assets==$version" >>"$list"
  echo "$extra: $(wc -l <"$list") wheels"
done
