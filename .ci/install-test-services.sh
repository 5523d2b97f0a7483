#!/usr/bin/env bash
# Installs what the tests talk to: Ceph's S3 gateway, PostgreSQL, ffmpeg for streams, a web server with Digest logins and
# a GigE Vision camera in software, a browser for the pages, a reverse
# proxy with logins, the AWS command line as a reader that is not ours, message brokers, Prometheus' checker of metrics,
# readers of PDF that are not ours, fonts of other scripts, and what builds images without a registry.
# Debian and Ubuntu; does nothing when all is there. Needs root, or sudo without a password.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); } # command, package
need_file() { [ -e "$1" ] || missing+=("$2"); } # file, package
need ceph-mon ceph-mon
need ceph-osd ceph-osd
need radosgw radosgw
need ceph ceph-common
need monmaptool ceph-common
need ffmpeg ffmpeg
need aws awscli
need chromium chromium
need chromedriver chromium-driver
PATH="$PATH:/usr/sbin" need mosquitto mosquitto
PATH="$PATH:/usr/sbin" need nats-server nats-server
need etcd etcd-server
need promtool prometheus
[ -n "$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || missing+=(postgresql)
PATH="$PATH:/usr/sbin" need nginx nginx-light
PATH="$PATH:/usr/sbin" need lighttpd lighttpd
need arv-fake-gv-camera-0.8 aravis-tools
need openssl openssl
need buildah buildah
need mmdebstrap mmdebstrap
need_file /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
need unshare util-linux
PATH="$PATH:/usr/sbin" need ip iproute2
need systemd-analyze systemd
need pdftotext poppler-utils
need qpdf qpdf
need mutool mupdf-tools
need_file /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc fonts-noto-cjk
need_file /usr/share/fonts/truetype/noto/NotoSansDevanagari-Regular.ttf fonts-noto-core
need_file /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf fonts-noto-color-emoji

if [ ${#missing[@]} -eq 0 ]; then
  echo "test services are installed"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "error: installing ${missing[*]} needs root or sudo" >&2; exit 1; }
  as_root=(sudo -n)
fi
"${as_root[@]}" apt-get --option Acquire::Retries=5 update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --option Acquire::Retries=5 install --yes --no-install-recommends "${missing[@]}"
