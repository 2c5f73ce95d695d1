#!/usr/bin/env bash
# A container engine with Compose and this project's base images, on a Debian machine that has some of it or none.
#
# Usage: prepare.sh FOLDER, where it keeps the engine's log and, if it started one, dockerd.pid.
set -euo pipefail
folder=$1

ready() { docker info >/dev/null 2>&1; }

if ! ready; then
  if [ "$(id -u)" != 0 ] || ! grep -qs '^ID=debian' /etc/os-release; then
    echo "No container engine runs, and only root on Debian gets one from here"
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null
  dockerd >"$folder/dockerd.log" 2>&1 &
  echo $! >"$folder/dockerd.pid"
  for _ in $(seq 60); do
    if ready || ! kill -0 "$(cat "$folder/dockerd.pid")" 2>/dev/null; then break; fi
    sleep 0.5
  done
  ready || { tail -n 5 "$folder/dockerd.log"; exit 1; }
fi

# Debian 12 has no Compose of version 2; its successor's is two static programs.
if ! docker compose version >/dev/null 2>&1; then
  mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$folder/next.list"
  options=(-qq -o "Dir::Etc::sourcelist=$folder/next.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  apt-get "${options[@]}" update
  (cd "$folder" && apt-get "${options[@]}" download docker-compose docker-buildx)
  for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder/unpacked"; done
  plugins=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins
  mkdir -p "$plugins"
  cp "$folder"/unpacked/usr/libexec/docker/cli-plugins/docker-* "$plugins/"
fi

bash "$(dirname "$0")/base_images.sh"
