# The images of this repository, from one file:
#
#   base           Python, and the environment variables that every stage needs
#   builder        uv, and the packages of requirements.txt in /opt/venv
#   system         the base without pip, and with the service's user
#   code           the service's own files
#   runtime        system, packages and code: what production runs (the default target)
#   test-builder   the builder's packages and those of requirements-dev.txt
#   test           runtime, with these packages and the tests: `make test-image`
#
# Layers stand in the order in which they change: Python seldom, packages sometimes, code always.
# A build pulls one image, BASE: there is no `# syntax=` line and no COPY from another registry.
#
# Two builds of one commit have one digest. `make image` passes the commit's time as
# SOURCE_DATE_EPOCH, which dates the image. Docker's default builder has no option that dates the
# files in it, so each stage sets the times of what it wrote.

ARG BASE=python:3.14-slim-trixie


FROM ${BASE} AS base
# Bytecode is compiled below: at run time the root file system may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1


FROM base AS builder
# uv exists only in this stage. Its version and hashes are those of the development lock.
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    --mount=type=bind,source=requirements-dev.txt,target=/tmp/lock.txt \
    python -m venv /uv \
    && /uv/bin/pip install --disable-pip-version-check --require-hashes --constraint /tmp/lock.txt uv
# Bytecode that is never compared with its source, since the image's files don't change. A changed
# lock downloads only what changed: the cache mount keeps the rest.
ENV UV_COMPILE_BYTECODE=1 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_LINK_MODE=copy
RUN --mount=type=cache,target=/root/.cache/uv,sharing=locked \
    --mount=type=bind,source=requirements.txt,target=/tmp/lock.txt \
    python -m venv --without-pip /opt/venv \
    && /uv/bin/uv pip install --python /opt/venv/bin/python --require-hashes --no-deps -r /tmp/lock.txt \
    && rm -f /opt/venv/.lock \
    && find /opt -exec touch --no-dereference --date=@0 {} +


FROM base AS system
# Production installs nothing, so pip goes, and ensurepip, which carries another one. The official
# image has no bytecode of the standard library: without it each start would compile what it loads.
# useradd would write the date of the build into /etc/shadow, so the user is written by hand.
RUN --network=none touch /started \
    && python -m pip uninstall --yes --quiet --root-user-action=ignore --break-system-packages pip \
    && rm -rf "$(python -c 'import ensurepip; print(*ensurepip.__path__)')" \
        /usr/local/bin/pip* /usr/bin/pip* /usr/share/python-wheels \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && echo 'drydock:x:10001:10001::/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'drydock:x:10001:' >> /etc/group \
    && find / -xdev -newer /started -exec touch --no-dereference --date=@0 {} + \
    && rm /started && touch --date=@0 /


FROM base AS code
WORKDIR /srv
COPY deploy/probe.py gunicorn.conf.py pyproject.toml ./
COPY migrations migrations
COPY app app
# The same modes and times whoever checked the files out, and when. A network would take a tenth of
# a second to set up at each edit.
RUN --network=none \
    python -m compileall -q --invalidation-mode unchecked-hash app migrations \
    && chmod -R u=rwX,go=rX . && find . -exec touch --no-dereference --date=@0 {} +


# From scratch, so that pip is in no layer. A layer on top of the base would only hide it, and would
# mark the hidden files with the time of the build: each build would be another digest.
FROM scratch AS runtime
# hadolint ignore=DL3067
COPY --from=system / /
LABEL org.opencontainers.image.title="Drydock" \
    org.opencontainers.image.description="A service on FastAPI, Postgres and Redis" \
    org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# Root owns packages and code: the service can't change what it runs.
COPY --link --from=builder /opt /opt
WORKDIR /srv
COPY --link --from=code /srv /srv
# Last, because every commit changes it.
ARG GIT_SHA=development
LABEL org.opencontainers.image.revision="${GIT_SHA}"
ENV ENVIRONMENT=production \
    GIT_SHA=${GIT_SHA} \
    METRICS_HOST=0.0.0.0 \
    HEARTBEAT_FILE=/tmp/drydock-worker-alive
USER 10001:10001
EXPOSE 8000 9100
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["python", "-S", "-E", "/srv/probe.py", "web"]
STOPSIGNAL SIGTERM
CMD ["gunicorn"]


FROM builder AS test-builder
# The development lock holds the runtime's pins too: uv adds what is missing.
RUN --mount=type=cache,target=/root/.cache/uv,sharing=locked \
    --mount=type=bind,source=requirements-dev.txt,target=/tmp/lock.txt \
    /uv/bin/uv pip install --python /opt/venv/bin/python --require-hashes --no-deps -r /tmp/lock.txt


FROM runtime AS test
COPY --link --from=test-builder /opt /opt
COPY --link .env.example requirements.txt requirements-dev.txt ./
COPY --link dev dev
# The tests' Redis reads it.
COPY --link deploy/redis.conf deploy/redis.conf
COPY --link tests tests
HEALTHCHECK NONE
# The user may write to /tmp only.
CMD ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "tests"]


# The last stage is what `docker build .` makes.
FROM runtime
