#!/usr/bin/env bash
# Runs a command with a container engine: `bash tests/deploy/engine/with_engine.sh make test-containers`.
#
# Where one runs already, with Compose and a registry, that is all. What is missing comes from Debian's packages and is
# there for as long as the command (prepare.sh, base_images.sh). What cannot be had is said, and the command runs all
# the same: its tests then say why they are skipped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)

finish() {
  if [ -e "$folder/dockerd.pid" ]; then
    kill "$(cat "$folder/dockerd.pid")" 2>/dev/null || true
    for _ in $(seq 60); do kill -0 "$(cat "$folder/dockerd.pid")" 2>/dev/null && sleep 0.5; done
  fi
  rm -rf "$folder"
}
trap finish EXIT

bash "$here/prepare.sh" "$folder" || echo "No container engine could be made ready"
# Ours to kill, in tests.
[ ! -e "$folder/dockerd.pid" ] || export ENGINE_FOLDER=$folder
"$@"
