#!/usr/bin/env bash
# Inside a build: installs one extra into /opt/yolo-assets from the wheels beside it, without an index and without pip
# staying behind. Called by the Dockerfile: install.sh EXTRA
set -euo pipefail
venv=/opt/yolo-assets
[ -x "$venv/bin/python" ] || python3.11 -m venv --without-pip "$venv"
python3.11 -m venv /tmp/installer
/tmp/installer/bin/python -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check --no-cache-dir \
  --no-index --no-deps --find-links /wheels --requirement "/wheels/requirements-$1.txt"
rm -rf /tmp/installer
