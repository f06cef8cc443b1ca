# The image of the web server, without torch and the pipeline. It needs no network and no home folder, and writes only to /tmp.
# Build: make image.   Run: see compose.yaml and docs/serve.md.
FROM python:3.13-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /venv \
    && pip wheel --no-cache-dir --no-deps --wheel-dir /wheel . \
    && /venv/bin/pip install --no-cache-dir --constraint requirements.lock "$(echo /wheel/*.whl)[app]"

FROM python:3.13-slim
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PORTRAITIST_HOST=0.0.0.0 \
    PORTRAITIST_PORT=8000 \
    PORTRAITIST_METRICS_PORT=9100 \
    PORTRAITIST_ACCESS_LOG=1
USER 65532:65532
WORKDIR /tmp
EXPOSE 8000 9100
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=8)"]
ENTRYPOINT ["portraitist"]
CMD ["serve"]
