# Two stages: the first builds a virtual environment, the second carries only that, and runs as nobody in particular.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/hkall
COPY pyproject.toml README.md ./
COPY hkall_gateway ./hkall_gateway
COPY docs/man ./docs/man
COPY docs/completion ./docs/completion
RUN /opt/hkall/bin/pip install --no-cache-dir '.[postgres,web]'

FROM python:3.13-slim
RUN useradd --system --create-home --home-dir /var/lib/hkall --uid 10001 hkall
COPY --from=build /opt/hkall /opt/hkall
ENV PATH=/opt/hkall/bin:$PATH PYTHONUNBUFFERED=1 HKALL_CONFIG=/etc/hkall/gateway.toml
USER hkall
WORKDIR /var/lib/hkall
EXPOSE 6001 8080 8081 8090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8081/healthz', timeout=2)"]
ENTRYPOINT ["hkall-gateway"]
CMD ["serve"]
