# One image for every process; the command says which: `worker run` (as here), `worker receive`, `worker migrate`.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY supabase/migrations supabase/migrations
# Wheels only: nothing is compiled, so no compiler is needed here or below.
RUN python -m venv /opt/worker \
    && /opt/worker/bin/pip install --no-cache-dir --no-compile "hatchling>=1.25" \
    && /opt/worker/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && python -m venv --clear /opt/worker \
    && wheel="$(ls /wheels/*.whl)" \
    && /opt/worker/bin/pip install --no-cache-dir --only-binary :all: "${wheel}[s3,supabase]"

FROM python:3.13-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /srv/worker worker
COPY --from=build /opt/worker /opt/worker
ENV PATH="/opt/worker/bin:$PATH" PYTHONUNBUFFERED=1 WORKER_HTTP_HOST=0.0.0.0
USER worker
WORKDIR /srv/worker
# In the exec form, so that SIGTERM reaches the program itself.
STOPSIGNAL SIGTERM
EXPOSE 8080 9091
CMD ["worker", "run"]
