#!/usr/bin/env bash
# Starts a Docker daemon of its own, without a network, on a Debian 12 machine as root. Prints the pid to end when done.
# usage: start-docker.sh FOLDER    then: docker -H unix://FOLDER/docker.sock ...
set -euo pipefail
folder=${1:?usage: start-docker.sh FOLDER}
command -v dockerd >/dev/null ||
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends docker.io >/dev/null
mkdir -p "$folder"
nohup dockerd -H "unix://$folder/docker.sock" --data-root "$folder/data" --exec-root "$folder/run" \
  --pidfile "$folder/pid" --bridge none --iptables=false --ip6tables=false >"$folder/log" 2>&1 &
for _ in $(seq 60); do docker -H "unix://$folder/docker.sock" info >/dev/null 2>&1 && break; sleep 1; done
cat "$folder/pid"
