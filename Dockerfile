# One image for every process; the command says which: `worker run` (as here), `worker receive`, `worker migrate`.
# The base is named with its Debian, the one the tests run on: another git comes only when somebody changes this line.
# A test builds and runs the same without Docker: ops/image/install, then tini and ops/image/as-worker.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY supabase/migrations supabase/migrations
COPY ops/image ops/image
# Wheels only: nothing is compiled, so no compiler is needed here or below.
RUN ops/image/install /opt/worker

FROM python:3.13-slim-bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /srv/worker worker
COPY --from=build /opt/worker /opt/worker
COPY ops/image/as-worker /usr/local/bin/as-worker
ENV PATH="/opt/worker/bin:$PATH" PYTHONUNBUFFERED=1 WORKER_HTTP_HOST=0.0.0.0
WORKDIR /srv/worker
# tini is process 1: it passes signals on to the program alone and buries what its children leave behind. as-worker gives
# a volume, which the platform mounts as root's, to the account `worker`, and becomes it; nothing of ours runs as root.
ENTRYPOINT ["tini", "-s", "--", "as-worker"]
STOPSIGNAL SIGTERM
EXPOSE 8080 9091
CMD ["worker", "run"]
