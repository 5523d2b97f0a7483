#!/usr/bin/env bash
# Makes the secrets of compose.yaml, random ones, in secrets/ beside this file. Those that are there stay.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p secrets
# Containers read them as user 10001 or another of their own: the folder keeps others out, not the files.
chmod 700 secrets
for name in postgres-password agent-token grafana-password; do
  [ -s "secrets/$name" ] || openssl rand -hex 24 >"secrets/$name"
done
[ -s secrets/s3-credentials ] ||
  printf '[default]\naws_access_key_id = laptop\naws_secret_access_key = %s\n' "$(openssl rand -hex 24)" >secrets/s3-credentials
chmod 644 secrets/*
echo "secrets are in $(pwd)/secrets"
