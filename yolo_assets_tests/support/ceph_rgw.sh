#!/usr/bin/env bash
# An S3 server for tests: Ceph's RADOS gateway on loopback, everything in memory, gone when stopped.
#
#   ceph_rgw.sh start DIR [OWNER_PID]   starts it, prints NAME=value lines; with an owner it stops when that process ends
#   ceph_rgw.sh stop DIR                ends every process that start left behind, by its pid
#
# Needs ceph-mon, ceph-osd, radosgw, radosgw-admin, ceph and monmaptool in PATH (Debian: ceph-mon ceph-osd radosgw
# ceph-common). DIR must be short: the daemons' unix sockets lie in it. CEPH_BYTES: room for objects, default 4 GiB.
set -euo pipefail

readonly verb=${1:?start or stop} folder=${2:?folder} owner=${3:-}
mkdir -p "$folder"
dir=$(cd "$folder" && pwd)
readonly dir
export CEPH_CONF=$dir/ceph.conf

stop() {
  local file pid
  for file in "$dir"/run/client.*.pid "$dir"/run/osd.*.pid "$dir"/run/mon.*.pid; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    rm -f "$file"
    # The number may belong to another process by now: end it only when it was started with our configuration.
    tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qxF "CEPH_CONF=$CEPH_CONF" || continue
    kill -KILL "$pid" 2>/dev/null || continue # nothing to save, and an orderly end takes ten seconds
    for _ in {1..50}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  done
}

# Below the range the kernel hands out to clients, so that nobody takes the port between the look and the bind.
free_port() {
  local port
  while :; do
    port=$((RANDOM % 12000 + 20000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

wait_for() { # tries, command...
  local tries=$1
  shift
  for ((; tries > 0; tries--)); do "$@" && return; sleep 0.25; done
  return 1
}

osd_is_up() { timeout 10 ceph osd stat | grep -q '1 up'; }
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

configure() { # monitor port, gateway port
  cat >"$CEPH_CONF" <<EOF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon initial members = a
mon host = [v1:127.0.0.1:$1]
public network = 127.0.0.0/8
run dir = $dir/run
pid file = $dir/run/\$name.pid
admin socket = $dir/run/\$name.sock
log file = $dir/log/\$name.log
mon cluster log file = $dir/log/cluster.log
mon data = $dir/mon
osd data = $dir/osd
rgw data = $dir/rgw
# One of everything, no replicas, no secrets between the daemons: they see nothing but each other.
auth cluster required = none
auth service required = none
auth client required = none
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
ms mon client mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
# A developer's disk may be nearly full; nothing of this is on it.
mon data avail warn = 1
mon data avail crit = 0
osd objectstore = memstore
memstore device bytes = ${CEPH_BYTES:-4294967296}
# Small answers go at once, not after the 40 ms that the other side waits before it acknowledges.
rgw frontends = beast endpoint=127.0.0.1:$2 tcp_nodelay=1
rgw thread pool size = 64
# A lifecycle "day" lasts ten seconds.
rgw lc debug interval = 10
EOF
}

start() { # monitor port, gateway port
  local osd attempt
  rm -rf "$dir"/{mon,osd,rgw,run}
  mkdir -p "$dir"/{mon,osd,rgw,run,log}
  configure "$1" "$2"
  monmaptool --create --clobber --fsid "$(sed -n 's/^fsid = //p' "$CEPH_CONF")" --addv a "[v1:127.0.0.1:$1]" \
    "$dir/monmap" || return 1
  ceph-mon --mkfs -i a --monmap "$dir/monmap" && ceph-mon -i a || return 1
  osd=$(cat /proc/sys/kernel/random/uuid)
  timeout 30 ceph osd new "$osd" || return 1
  for attempt in 1 2 3; do # memstore now and then dies on its first start
    echo "osd, attempt $attempt"
    rm -rf "$dir/osd" && mkdir "$dir/osd"
    ceph-osd -i 0 --mkfs --osd-uuid "$osd" && ceph-osd -i 0 && wait_for 40 osd_is_up && break
    [ -s "$dir/run/osd.0.pid" ] && kill -KILL "$(cat "$dir/run/osd.0.pid")" || true
  done
  osd_is_up && radosgw -n client.rgw && wait_for 120 answers "$2" || return 1
  local user
  for user in admin archiver; do
    timeout 30 radosgw-admin user create --uid=$user --display-name=$user --access-key=$user --secret-key=${user}secret \
      || return 1
  done
}

case $verb in
stop) stop ;;
start)
  mkdir -p "$dir/log"
  port=
  for _ in 1 2 3; do # another process may take a port after all
    try=$(free_port)
    if start "$(free_port)" "$try" >>"$dir/log/start.log" 2>&1; then port=$try && break; fi
    stop
  done
  [ -n "$port" ] || { tail -n 5 "$dir/log/start.log" >&2; echo "no S3 server; see $dir/log" >&2; exit 1; }
  if [ -n "$owner" ]; then
    # A test run that is killed must not leave a server behind.
    (while kill -0 "$owner" 2>/dev/null; do sleep 1; done; "$0" stop "$dir"; rm -rf "$dir") </dev/null >/dev/null 2>&1 &
    echo $! >"$dir/watchdog.pid"
  fi
  printf '%s\n' "AWS_ENDPOINT_URL_S3=http://127.0.0.1:$port" AWS_ACCESS_KEY_ID=admin AWS_SECRET_ACCESS_KEY=adminsecret \
    AWS_DEFAULT_REGION=us-east-1
  ;;
*) echo "usage: ceph_rgw.sh start DIR [OWNER_PID] | stop DIR" >&2 && exit 2 ;;
esac
