# One image for the API, the trainers and the inference hosts. It needs no network when it runs.
# BASE: Debian or Ubuntu, with Python 3.11 to 3.13 or with an apt that has it.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

RUN command -v python3 >/dev/null || { apt-get -qq update \
    && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends python3 python3-venv >/dev/null \
    && rm -rf /var/lib/apt/lists/*; }

# What the service needs of the lock file, each package with its hash. One layer, because it holds gigabytes.
# EXTRA: ray, for units on a Ray cluster.
ARG EXTRA=
WORKDIR /src
COPY pyproject.toml requirements.lock ray.lock ./
RUN python3 -m venv /opt/vigil \
    && python3 -m venv /tmp/uv \
    && /tmp/uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check uv \
    && /tmp/uv/bin/uv pip install --quiet --no-cache --compile-bytecode --python /opt/vigil/bin/python \
        --require-hashes --requirement pyproject.toml \
        ${EXTRA:+--extra ${EXTRA}} --constraint "${EXTRA:-requirements}.lock" \
    && rm -rf /tmp/uv

# The program, and the backbone weights of the folder weights/ where there is one.
COPY . .
RUN /opt/vigil/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps . \
    && useradd --uid 7580 --home-dir /data --create-home vigil \
    && mkdir --mode=700 /data/kms-keys && chown vigil /data/kms-keys && chmod 700 /data

WORKDIR /data
USER vigil
ENV PATH=/opt/vigil/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    VIGIL_DATA_DIR=/data \
    VIGIL_WEIGHTS_DIR=/src/weights
