# Two stages: the first builds a virtual environment, the second has only that, and runs without rights.
# BASE is an image with Python 3.11 or newer and its venv module; both stages use the same. The digest pins it: .github/dependabot.yml
# proposes newer ones, and `docker buildx imagetools inspect python:3.13-slim` names the newest.
ARG BASE=docker.io/library/python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv /opt/hkall
COPY pyproject.toml README.md LICENSE ./
COPY docs/man ./docs/man
COPY docs/completion ./docs/completion
COPY packaging ./packaging
COPY hkall_gateway ./hkall_gateway
COPY circprobe ./circprobe
RUN /opt/hkall/bin/pip install --no-cache-dir '.[postgres,web]' ./circprobe

FROM ${BASE}
ARG BASE
LABEL org.opencontainers.image.base.name=${BASE}
RUN useradd --system --uid 10001 --no-create-home --home-dir /var/lib/hkall hkall \
    && install -d -m 0750 -o hkall -g hkall /var/lib/hkall /etc/hkall
COPY --from=build /opt/hkall /opt/hkall
ENV PATH=/opt/hkall/bin:$PATH HKALL_CONFIG=/etc/hkall/gateway.toml PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/hkall
VOLUME /var/lib/hkall
EXPOSE 6001 8080 8081 8090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8081/healthz', timeout=2)"]
ENTRYPOINT ["hkall-gateway"]
CMD ["serve"]
