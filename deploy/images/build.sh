#!/usr/bin/env bash
# Builds images of yolo_assets, with docker or buildah.
#
#   deploy/images/build.sh [--local-base] [--smoke] TARGET...       base, edge, platform, train
#
# --local-base  buildah alone: make Debian with Python by mmdebstrap instead of fetching BASE_IMAGE from a registry
# --smoke       run each image once without a network: deploy/images/smoke.sh
#
# The images are named ${PREFIX}yolo-assets-TARGET:${TAG}; PREFIX is empty or ends with a slash, TAG is the version of
# the package. BUILDER is docker where that runs, else buildah. They are for the processor architecture of this
# machine. Needs what `make dist` needs; with --local-base also root, buildah and mmdebstrap.
set -euo pipefail
cd "$(dirname "$0")/../.."
local_base='' smoke='' targets=()
for word in "$@"; do
  case $word in
    --local-base) local_base=1 ;;
    --smoke) smoke=1 ;;
    base | edge | platform | train) targets+=("$word") ;;
    *) echo "error: $word is no target and no option; give base, edge, platform or train" >&2; exit 2 ;;
  esac
done
[ ${#targets[@]} -gt 0 ] || { echo "error: give at least one target: base, edge, platform, train" >&2; exit 2; }
builder=${BUILDER:-$(docker info >/dev/null 2>&1 && echo docker || echo buildah)}
[ -z "$local_base" ] || builder=buildah
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs} # what works inside a container, too

# Each target needs the lists of those below it.
extras=archive
case " ${targets[*]} " in *" edge "*) extras+=" edge" ;; esac
case " ${targets[*]} " in *" platform "* | *" train "*) extras+=" k8s" ;; esac
case " ${targets[*]} " in *" train "*) extras+=" train" ;; esac
make dist EXTRAS="$extras"
tag=${TAG:-$(basename dist/wheels/yolo_assets-*.whl | cut -d- -f2)}

base_image=()
[ -z "${BASE_IMAGE:-}" ] || base_image=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
if [ -n "$local_base" ]; then
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  mmdebstrap --quiet --mode=root --variant=minbase --include=python3.11-venv,ca-certificates \
    --aptopt='Acquire::Retries "5"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' bookworm "$root/system.tar"
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$root/system.tar" / >/dev/null
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit --quiet --rm --format docker "$container" yolo-assets-system:local >/dev/null
  base_image=(--build-arg BASE_IMAGE=localhost/yolo-assets-system:local)
fi

for target in "${targets[@]}"; do
  name=${PREFIX:-}yolo-assets-$target:$tag
  common=(--file deploy/images/Dockerfile --target "$target" --tag "$name" ${base_image[@]+"${base_image[@]}"})
  if [ "$builder" = docker ]; then
    DOCKER_BUILDKIT=1 docker build "${common[@]}" .
  else
    buildah build --quiet --format docker --ignorefile deploy/images/Dockerfile.dockerignore "${common[@]}" . >/dev/null
  fi
  [ -z "$smoke" ] || BUILDER=$builder bash deploy/images/smoke.sh "$target" "$name"
done
