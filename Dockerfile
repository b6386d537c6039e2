# Drydock's images, from one file:
#
#   base      Python and its environment variables; nothing of ours
#   builder   uv and the locked packages in /opt/venv, compiled to bytecode
#   system    the base without pip, and with the user
#   code      what this repository adds, compiled to bytecode
#   runtime   what production runs (the default target)
#   test      runtime, the development packages and the tests: what ships, tested by itself
#
# Each layer changes more often than the one above it: a new Python, new packages, new code.
# No `# syntax=` line and no COPY --from another registry's image: a build needs one pull, of BASE.
#
# Two builds of one commit are one digest (`make image` passes the commit's time as
# SOURCE_DATE_EPOCH for the image's own date). So whatever a stage writes gets a fixed time, mode
# and order there, rather than by an exporter's option that Docker's default builder lacks.

ARG BASE=python:3.14-slim-trixie


FROM ${BASE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    # The root file system may be read-only, and bytecode is compiled here: nothing to write later.
    PYTHONDONTWRITEBYTECODE=1


FROM base AS builder
# uv only ever exists in this stage. Its version and hashes are those of the development lock.
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    --mount=type=bind,source=requirements-dev.txt,target=/tmp/lock.txt \
    sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^ .*--hash/p}' /tmp/lock.txt > /tmp/uv.txt \
    && python -m venv /uv \
    && /uv/bin/pip install --disable-pip-version-check --require-hashes -r /tmp/uv.txt
# strip takes the debugging symbols out of compiled packages: a fifth of what is installed.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update && apt-get install -y --no-install-recommends binutils
# The lock is mounted, not copied: the layer depends on what it says and holds nothing of it.
# The cache mount keeps every package that was ever fetched, so a changed lock fetches the change.
# Left out is what takes room and runs nowhere: the packages' own tests; pydantic.v1, which FastAPI
# refuses, and imports (2 MB of each process) only to recognise it; what deploy/compile.py names.
RUN --mount=type=cache,target=/root/.cache/uv,sharing=locked \
    --mount=type=bind,source=requirements.txt,target=/tmp/lock.txt \
    --mount=type=bind,source=deploy/compile.py,target=/tmp/compile.py \
    python -m venv --without-pip /opt/venv \
    && UV_LINK_MODE=copy /uv/bin/uv pip install --python /opt/venv/bin/python \
        --require-hashes --no-deps -r /tmp/lock.txt \
    && find /opt/venv -type d \( -name tests -o -name test -o -path '*/pydantic/v1' \) \
        -path '*/site-packages/*' -prune -exec rm -rf {} + \
    && find /opt/venv -name '*.so*' -type f -exec strip --strip-unneeded {} + \
    && PYTHONHASHSEED=0 PYTHONNODEBUGRANGES=1 python /tmp/compile.py --stripped /opt/venv/lib \
    && rm -f /opt/venv/.lock \
    && find /opt -exec touch --no-dereference --date=@0 {} +


FROM base AS system
# No pip, and none to be unpacked: what runs in production installs nothing.
# The official image comes without the standard library's bytecode, others with all of it.
# The user is written by hand: useradd leaves today's date behind.
RUN --network=none --mount=type=bind,source=deploy/compile.py,target=/tmp/compile.py \
    touch /started \
    && python -c "import importlib.util, pathlib, shutil; \
        [shutil.rmtree(pathlib.Path(found.origin).parent) for name in ('pip', 'ensurepip') \
         if (found := importlib.util.find_spec(name))]" \
    && rm -rf /usr/local/bin/pip* /usr/bin/pip* /usr/share/python-wheels \
    && stdlib="$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && find "$stdlib" -name __pycache__ -prune -exec rm -rf {} + \
    && PYTHONHASHSEED=0 PYTHONNODEBUGRANGES=1 python /tmp/compile.py --stripped "$stdlib" \
    && echo 'drydock:x:10001:10001::/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'drydock:x:10001:' >> /etc/group \
    && find / -xdev -newer /started -exec touch --no-dereference --date=@0 {} + \
    && rm /started && touch --date=@0 /


# On a Python that has its own bytecode: compiling starts sooner.
FROM system AS code
WORKDIR /srv
COPY deploy/probe.py gunicorn.conf.py pyproject.toml ./
COPY migrations migrations
COPY app app
# Whoever checked it out, and when: the same modes and times. A network of its own would take a
# container a tenth of a second to get, at each edit, for nothing.
RUN --network=none PYTHONHASHSEED=0 python -S -m compileall -q --invalidation-mode unchecked-hash \
        app migrations \
    && chmod -R u=rwX,go=rX . && find . -exec touch --no-dereference --date=@0 {} +


# From nothing rather than from base: a file that a layer removes is still in the layer below, and
# the mark that hides it carries the time of the build.
FROM scratch AS runtime
# hadolint ignore=DL3067
COPY --from=system / /
LABEL org.opencontainers.image.title="Drydock" \
    org.opencontainers.image.description="Short links for a team" \
    org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# The packages change less often than the code, so they are a layer below it. Root owns both: the
# process can't change what it runs.
COPY --link --from=builder /opt /opt
WORKDIR /srv
COPY --link --from=code /srv /srv
# Last, since every commit changes it.
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
# The development lock holds the runtime's pins too: what is there stays, the rest is added.
RUN --mount=type=cache,target=/root/.cache/uv,sharing=locked \
    --mount=type=bind,source=requirements-dev.txt,target=/tmp/lock.txt \
    --mount=type=bind,source=deploy/compile.py,target=/tmp/compile.py \
    UV_LINK_MODE=copy /uv/bin/uv pip install --python /opt/venv/bin/python \
        --require-hashes --no-deps -r /tmp/lock.txt \
    && python /tmp/compile.py /opt/venv/lib


FROM runtime AS test
COPY --link --from=test-builder /opt /opt
COPY --link .env.example requirements.txt requirements-dev.txt ./
COPY --link dev dev
# The tests' Redis reads it.
COPY --link deploy/redis.conf deploy/redis.conf
# begin sample
COPY --link bench bench
# end sample
COPY --link tests tests
HEALTHCHECK NONE
# The user may write to /tmp only. The documents are not in here, so neither are their tests.
CMD ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--ignore=tests/docs", "tests"]


# What `docker build .` makes without --target.
FROM runtime
