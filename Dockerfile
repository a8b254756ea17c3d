# Installs like `make install`, from the runtime lock only.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements/runtime.lock requirements/build.lock requirements/
RUN python -m venv /venv \
 && /venv/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/runtime.lock \
 && python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.lock
COPY pyproject.toml README.md LICENSE featsvc.example.toml ./
COPY featsvc featsvc
COPY kernels kernels
COPY client client
COPY proto proto
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels ./client . \
 && /venv/bin/python -m pip install --no-cache-dir --no-deps /wheels/*.whl

FROM python:3.11-slim-bookworm
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    NUMBA_CACHE_DIR=/venv/share/featsvc-kernels \
    PYTHONUNBUFFERED=1 \
    FEATSVC_DATA_DIR=/data \
    FEATSVC_SERVER_LISTEN=0.0.0.0:50051
# Compiles every kernel into the image, for every CPU that it may run on. Any user may read them.
RUN featsvc doctor --kernels --portable \
 && useradd --system --uid 10001 --create-home featsvc \
 && install -d -o featsvc -g featsvc /data
USER 10001
VOLUME /data
EXPOSE 50051
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["featsvc", "doctor", "--server", "localhost:50051"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["featsvc"]
CMD ["serve"]
