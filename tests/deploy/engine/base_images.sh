#!/usr/bin/env bash
# The images that Dockerfile and docker-compose.yml begin with, where no registry can be reached: Debian's own Python
# 3.11 and PostgreSQL, and the NATS server of PyPI, under their names, built as the official ones are. For tests only.
set -euo pipefail
PYTHON=python:3.11-slim-bookworm POSTGRES=postgres:16
NATS=$(sed -n 's/.*NATS_IMAGE:-\(nats:[^}]*\)}.*/\1/p' "$(dirname "$0")/../../../docker-compose.yml")
here=$(cd "$(dirname "$0")" && pwd)
export DOCKER_BUILDKIT=0 # the classic builder takes a base that was made here without asking a registry

there() { docker image inspect "$1" >/dev/null 2>&1 || timeout 60 docker pull -q "$1" >/dev/null 2>&1; }

missing=" "
for image in "$PYTHON" "$POSTGRES" "$NATS"; do there "$image" || missing+="$image "; done
lacks() { [[ $missing == *" $1 "* ]]; }
if [ "$missing" = " " ]; then exit; fi
echo "No registry gives${missing}: emulators from Debian's packages take their names"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v mmdebstrap >/dev/null ||
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null

# pip and apt in a build reach their indexes as this machine does: by the same mirror, believing the same authorities.
mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources)
authorities=/etc/ssl/certs/ca-certificates.crt
cat >"$work/customize" <<EOF
#!/bin/sh
set -e
cp $authorities "\$1$authorities"
printf '[global]\ncert = $authorities\ntimeout = 180\n' >"\$1/etc/pip.conf"
printf '#!/bin/sh\nexit 101\n' >"\$1/usr/sbin/policy-rc.d" # no service is started by its installation
chmod 755 "\$1/usr/sbin/policy-rc.d"
cat >"\$1/etc/apt/apt.conf.d/small" <<X
Dir::Cache { pkgcache ""; srcpkgcache ""; };
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
X
rm -f "\$1"/var/cache/apt/*.bin
EOF
chmod 755 "$work/customize"
TMPDIR=$work mmdebstrap --quiet --variant=minbase --include=ca-certificates,netbase,tzdata \
  --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook="$work/customize" bookworm "$work/debian.tar" "$mirror"
docker import --change 'CMD ["bash"]' --change "ENV SSL_CERT_FILE=$authorities" "$work/debian.tar" nyc-taxi-debian >/dev/null

# /usr/local is an environment of its own, as in the official image: Debian's Python takes no package by pip.
! lacks "$PYTHON" || docker build --quiet --network host --tag "$PYTHON" - <<'EOF'
FROM nyc-taxi-debian
ENV PATH=/usr/local/bin:$PATH LANG=C.UTF-8
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3.11-venv python3-distutils >/dev/null \
 && python3.11 -m venv /usr/local && rm -rf /var/lib/apt/lists/*
CMD ["python3"]
EOF

cp "$here/postgres_entrypoint.sh" "$work/docker-entrypoint.sh"
rm "$work/debian.tar"
cat >"$work/Dockerfile" <<'EOF'
FROM nyc-taxi-debian
RUN groupadd --system --gid 999 postgres \
 && useradd --system --gid postgres --uid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres \
 && mkdir /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf \
 && apt-get update -qq && apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold postgresql-15 \
      >/dev/null \
 && install -d -o postgres -g postgres -m 3777 /var/run/postgresql /var/lib/postgresql/data && rm -rf /var/lib/apt/lists/*
COPY docker-entrypoint.sh /usr/local/bin/
ENV LANG=C.UTF-8 PATH=$PATH:/usr/lib/postgresql/15/bin PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
CMD ["postgres"]
EOF
chmod 755 "$work/docker-entrypoint.sh"
! lacks "$POSTGRES" || docker build --quiet --network host --tag "$POSTGRES" "$work"

# The server is a static program, of the extra `streaming`; busybox has the official image's sh and wget.
lacks "$NATS" || exit 0
make -s -C "$here/../../.." .venv/.streaming
cp "$here/../../../.venv/bin/nats-server" "$work/"
docker build --quiet --network host --tag "$NATS" --file - "$work" <<'EOF'
FROM nyc-taxi-debian
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends busybox >/dev/null \
 && ln -s /bin/busybox /usr/local/bin/wget && rm -rf /var/lib/apt/lists/*
COPY nats-server /usr/local/bin/
CMD ["nats-server"]
EOF
