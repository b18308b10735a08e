# ftmirror in a container; docs/containers.md says how to use it, and how it was tried.
#
#   docker build -t ftmirror .
#   docker run --rm ftmirror demo

# The same image in each stage: an environment of Python's goes with its interpreter.
ARG PYTHON=3.13-slim-bookworm

# The wheel, made by a backend that is pinned too.
FROM python:${PYTHON} AS wheel
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tools/pinned.py tools/pinned.py
RUN python tools/pinned.py --build >/tmp/build.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r /tmp/build.txt
COPY migrations migrations
COPY config/ftmirror.toml config/prices.toml config/
COPY etl etl
RUN /opt/build/bin/python -m hatchling build -t wheel -d /dist

# The environment: wheels only, each by its hash, so that nothing is compiled.
FROM python:${PYTHON} AS environment
WORKDIR /src
COPY pyproject.toml constraints.txt ./
COPY tools/pinned.py tools/pinned.py
RUN python tools/pinned.py alerts lake metrics mysql postgres report >/tmp/pins.txt \
    && python -m venv /opt/ftmirror \
    && /opt/ftmirror/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r /tmp/pins.txt
COPY --from=wheel /dist /dist
RUN /opt/ftmirror/bin/pip install --no-cache-dir --no-deps /dist/*.whl \
    && /opt/ftmirror/bin/pip check \
    && /opt/ftmirror/bin/pip uninstall -q -y pip

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="ftmirror" \
      org.opencontainers.image.description="Mirrors OpenAI's fine-tuning history into SQL, and keeps it in step." \
      org.opencontainers.image.licenses="MIT"
# A user by number, so that Kubernetes can see that it is not root; /data is for a SQLite mirror:
# a volume there is its keeper's to name, and none where the mirror is elsewhere.
RUN groupadd --gid 10001 ftmirror \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin ftmirror \
    && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=environment /opt/ftmirror /opt/ftmirror
# MAX_AGE: how old the mirror may be and still count as healthy. No key, no password and no database:
# a variable would be stronger than the .env that a service mounts.
ENV PATH=/opt/ftmirror/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    MAX_AGE=26h
USER 10001:10001
WORKDIR /data
# A first run may take its time. Docker knows 0 and 1 only; `status` ends with 5 when it is stale.
HEALTHCHECK --interval=5m --timeout=1m --start-period=1h --retries=3 \
    CMD ["sh", "-c", "ftmirror --quiet status --max-age \"$MAX_AGE\" || exit 1"]
ENTRYPOINT ["ftmirror"]
CMD ["schedule", "--every", "1h"]
