#!/bin/sh
# Finds a Python for the environments and hands over to set_up.py: `sh ops/set_up.sh .venv .venv-emulators`.
# PYTHON names another Python than the first of the list below.
cd "$(dirname "$0")/.." || exit 1
if [ "$OS" = Windows_NT ]; then # so Windows says itself; WSL does not
  echo "FAILED  Windows lacks what Mage and this project call: run the same in WSL 2, or use Docker" \
    "(docs/containers.md)" >&2
  exit 1
fi
fits='import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))'
for name in "${PYTHON:-python3.11}" ${PYTHON:-python3.12 python3}; do
  # By running it: a name on the PATH may be a shim without a Python behind it.
  "$name" -E -c "$fits" 2>/dev/null || continue
  "$name" -E -c 'import ensurepip, venv' 2>/dev/null && exec "$name" -E -s -m ops.set_up "$@"
  bare=$name
done
none="No Python here is"
[ -z "$PYTHON" ] || none="$PYTHON is not"
if [ -n "$bare" ]; then
  echo "FAILED  $bare comes without venv: apt-get install python3-venv (or its python3.X-venv), then the same again" >&2
else
  echo "FAILED  $none 3.11 or 3.12, which mage-ai needs: apt-get install python3.11-venv," \
    "brew install python@3.11 or uv python install 3.11; then make setup PYTHON=its path, or just make setup" >&2
fi
exit 1
