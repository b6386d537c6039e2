# The images of this repository. The stages:
#
#   base           Python, and the environment variables that every stage needs
#   builder        uv, and the packages of requirements.txt in /opt/venv
#   system         the base without pip and setuid programs, and with the service's user
#   code           the service's own files
#   runtime        system, packages and code: production runs it (the default target)
#   test-builder   builder, with the packages of requirements-dev.txt added
#   test           runtime with these packages and the tests: `make check-more` runs it
#
# Layers are in the order in which they change: Python seldom, packages sometimes, code always.
# A build pulls one image, PYTHON_IMAGE. It needs no `# syntax=` line and copies from no other image.
#
# Two builds of one commit have one digest. `make image` passes the commit's time as
# SOURCE_DATE_EPOCH, which becomes the image's date. Docker's default builder has no option that sets
# the times of files, so each stage sets those of the files that it wrote.

ARG PYTHON_IMAGE=python:3.14-slim-trixie


FROM ${PYTHON_IMAGE} AS base
# The stages below compile all bytecode. At run time the root file system may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1


FROM base AS builder
# uv stays in this stage. The development lock has its version and its hashes.
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    --mount=type=bind,source=requirements-dev.txt,target=/tmp/lock.txt \
    python -m venv /uv \
    && /uv/bin/pip install --disable-pip-version-check --only-binary=:all: --require-hashes \
        --constraint /tmp/lock.txt uv
# Python never compares this bytecode with its source, because the image's files don't change. The
# cache mount keeps downloads: after a change of the lock, a build fetches only new packages. Only
# wheels are installed, since to build a package means to run code that no lock names.
ENV UV_COMPILE_BYTECODE=1 \
    PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_LINK_MODE=copy
RUN --mount=type=cache,target=/root/.cache/uv,sharing=locked \
    --mount=type=bind,source=requirements.txt,target=/tmp/lock.txt \
    python -m venv --without-pip /opt/venv \
    && /uv/bin/uv pip install --python /opt/venv/bin/python --no-build --require-hashes --no-deps -r /tmp/lock.txt \
    && rm -f /opt/venv/.lock \
    && find /opt -exec touch --no-dereference --date=@0 {} +


FROM base AS system
# Debian's fixes that the base does not have yet; usually the file names none. interpreter.py notes
# which Python this is, since no package manager knows it.
RUN --mount=type=bind,source=deploy/debian-updates.txt,target=/tmp/updates.txt \
    --mount=type=bind,source=deploy/pipeline/interpreter.py,target=/tmp/interpreter.py \
    touch /started && mkdir -p /usr/local/share/sbom \
    && python /tmp/interpreter.py > /usr/local/share/sbom/python.cdx.json \
    && sed 's/#.*//' /tmp/updates.txt > /updates \
    && if grep -q '[a-z]' /updates; then \
        apt-get update \
        && xargs --arg-file=/updates apt-get install --yes --no-install-recommends --only-upgrade \
        && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*; \
    fi && rm /updates \
    && find / -xdev -newer /started -exec touch --no-dereference --date=@0 {} +
# Production installs nothing, so this removes pip, and ensurepip, which contains a second pip. The
# official image has no bytecode of the standard library, and each start would compile it again.
# Nobody needs programs that run with the rights of their owner (setuid, setgid).
# useradd would write the date of the build into /etc/shadow, so echo adds the user.
RUN --network=none touch /started \
    && python -m pip uninstall --yes --quiet --root-user-action=ignore --break-system-packages pip \
    && rm -rf "$(python -c 'import ensurepip; print(*ensurepip.__path__)')" \
        /usr/local/bin/pip* /usr/bin/pip* /usr/share/python-wheels \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
    && echo 'drydock:x:10001:10001::/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'drydock:x:10001:' >> /etc/group \
    && find / -xdev -newer /started -exec touch --no-dereference --date=@0 {} + \
    && rm /started && touch --date=@0 / /tmp


FROM base AS code
WORKDIR /srv
COPY deploy/probe.py gunicorn.conf.py pyproject.toml ./
COPY migrations migrations
COPY app app
# Modes and times become the same for each checkout. Without a network each build is a tenth of a
# second faster.
RUN --network=none \
    python -m compileall -q --invalidation-mode unchecked-hash app migrations \
    && chmod -R u=rwX,go=rX . && find . -exec touch --no-dereference --date=@0 {} +


# The stage starts from scratch, so no layer contains pip. A layer on top of the base would only hide
# it, and would give the hidden files the time of the build, so each build would have its own digest.
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
# Root owns packages and code, so the service can't change them.
COPY --link --from=builder /opt /opt
WORKDIR /srv
COPY --link --from=code /srv /srv
# These lines are last, because every commit changes GIT_SHA.
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
# The development lock has the runtime's pins too. uv adds only the packages that are missing.
RUN --mount=type=cache,target=/root/.cache/uv,sharing=locked \
    --mount=type=bind,source=requirements-dev.txt,target=/tmp/lock.txt \
    /uv/bin/uv pip install --python /opt/venv/bin/python --no-build --require-hashes --no-deps -r /tmp/lock.txt


FROM runtime AS test
COPY --link --from=test-builder /opt /opt
# The user can read all of it, whatever the modes in the checkout.
COPY --link --chmod=755 .env.example requirements.txt requirements-dev.txt ./
COPY --link --chmod=755 dev dev
# The tests' Redis and Postgres read these files.
COPY --link --chmod=755 deploy/redis.conf deploy/redis.conf
COPY --link --chmod=755 deploy/postgres deploy/postgres
COPY --link --chmod=755 tests tests
HEALTHCHECK NONE
# The user may write to /tmp only.
CMD ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "tests"]


# `docker build .` builds the last stage.
FROM runtime
