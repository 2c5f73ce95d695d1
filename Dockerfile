# Two images: `mage` (the last, and so the default) and `emulators`, the emulators of Google's services.
#
#   docker build -t nyc-taxi-mage .
#   docker build -t nyc-taxi-emulators --target emulators .
#
# The tag below moves with security updates. To build the same base for ever, give its digest:
#   docker buildx imagetools inspect python:3.11-slim-bookworm      # prints sha256:...
#   docker build --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:... .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm


# --- Packages, which uv installs, brought by pip; only the folder /opt/venv goes on -----------------------------------
FROM ${PYTHON_IMAGE} AS uv
COPY requirements-uv.txt ./
RUN python -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements-uv.txt
# --no-deps: the locks are complete. The bytecode: without it, every start of Mage takes ten seconds longer.
ENV UV_SYSTEM_CERTS=1 \
    INSTALL="/opt/uv/bin/uv pip install --python /opt/venv --no-python-downloads --no-cache --link-mode copy --no-deps \
--require-hashes --only-binary :all: --compile-bytecode"

FROM uv AS mage-packages
RUN python -m venv /opt/venv
COPY requirements.txt requirements-streaming.txt ./
RUN $INSTALL -r requirements.txt
# For the pipeline live_trips: docker build --build-arg STREAMING=1
ARG STREAMING=
RUN [ -z "$STREAMING" ] || $INSTALL -r requirements-streaming.txt
# A sixth of the size that nothing here reads: the tests of the largest packages, the languages of a calendar, and the
# web pages of Jupyter, of which Mage takes the kernels only.
RUN cd /opt/venv/lib/python3.11/site-packages \
 && rm -rf notebook/static jupyterlab/static /opt/venv/share/jupyter/lab \
 && find babel/locale-data -name '*.dat' ! -name 'en*' ! -name root.dat -delete \
 && find dask mage_ai matplotlib numpy pandas psutil pyarrow scipy sklearn tornado -depth -type d \
      \( -name tests -o -name test \) -exec rm -rf {} +

FROM uv AS emulators-packages
RUN python -m venv /opt/venv
COPY ops/emulators/requirements.txt ./
RUN $INSTALL -r requirements.txt


# --- Emulators of Cloud Storage and BigQuery: docker compose --profile emulators up ----------------------------------
FROM ${PYTHON_IMAGE} AS emulators
LABEL org.opencontainers.image.title="nyc-taxi-emulators" \
      org.opencontainers.image.description="Emulators of Google Cloud Storage and BigQuery, for one's own machine" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 1000 --gid 0 --no-create-home --home-dir /data emulators && install -d -o 1000 -g 0 -m 775 /data
COPY --from=emulators-packages /opt/venv /opt/venv
WORKDIR /home/src
COPY ops/__init__.py ops/
COPY ops/container/__init__.py ops/container/health.py ops/container/
COPY ops/emulators ops/emulators
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN python -m compileall -q ops
USER 1000:0
CMD ["python", "-m", "ops.emulators.gcs", "/data/gcs", "4443", "0.0.0.0"]
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s \
  CMD ["python", "-m", "ops.container.health", "http://127.0.0.1:4443/healthz"]


# --- Mage with this project -------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS mage
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nyc-taxi-mage" \
      org.opencontainers.image.description="New York taxi trips to Postgres, Cloud Storage and BigQuery, with Mage" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# git and ssh: the project may come from a repository. tini: Mage as the first process would ignore SIGTERM.
RUN apt-get update && apt-get install -y --no-install-recommends git openssh-client tini && rm -rf /var/lib/apt/lists/*
# Mage calls ssh without options and would believe any host: here only the hosts of GIT_KNOWN_HOSTS are.
RUN printf 'StrictHostKeyChecking yes\nBatchMode yes\nGlobalKnownHostsFile /dev/null\nUserKnownHostsFile %s\n' \
      /home/src/mage_data/home/.ssh/pinned_hosts > /etc/ssh/ssh_config.d/pinned.conf
# Group 0 may write what user 1000 may: a project of another user's is edited by `--user ANYBODY:0`.
RUN useradd --uid 1000 --gid 0 --no-create-home --home-dir /home/src/mage_data/home --shell /bin/bash mage \
 && install -d -o 1000 -g 0 -m 775 /home/src/mage_data /home/src/mage_data/home
COPY --from=mage-packages /opt/venv /opt/venv
WORKDIR /home/src
COPY requirements.txt ./
COPY ops ops
COPY --chown=1000:0 magic-zoomcamp magic-zoomcamp
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/home/src/magic-zoomcamp/utils \
    PYTHONUNBUFFERED=1 \
    HOME=/home/src/mage_data/home \
    MAGE_DATA_DIR=/home/src/mage_data \
    NYC_TAXI_LOCAL_DIR=/home/src/mage_data/local
RUN python -m compileall -q ops magic-zoomcamp/utils && chmod -R g=u magic-zoomcamp
# Mage starts a job of its own, on Cloud Run and Kubernetes, with this script and a command: docs/scale-out.md.
RUN install -d /app \
 && printf '#!/bin/sh\nexec tini -s -g -- python -m ops.container.start --job "$@"\n' > /app/run_app.sh && chmod 755 /app/run_app.sh
USER 1000:0
EXPOSE 6789
ENTRYPOINT ["tini", "-s", "-g", "--", "python", "-m", "ops.container.start"]
HEALTHCHECK --interval=10s --timeout=10s --start-period=180s --retries=6 CMD ["python", "-m", "ops.container.health"]
