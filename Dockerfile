FROM python:3.11-slim-bookworm
WORKDIR /home/src
COPY requirements.txt pyproject.toml ./
COPY magic-zoomcamp/utils magic-zoomcamp/utils
# --no-deps: the lock is complete. pip compiles the bytecode, without which every start takes ten seconds longer.
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt \
 && pip install --no-cache-dir --no-deps --no-build-isolation -e .
COPY magic-zoomcamp magic-zoomcamp
ENV MAGE_DATA_DIR=/home/src/mage_data STAGING_DIR=/home/src/mage_data/staging
EXPOSE 6789
CMD ["mage", "start", "magic-zoomcamp", "--host", "0.0.0.0", "--port", "6789"]
