# The program and nothing else: no shell, no package manager, no C library.
#   .ci/build-targets && docker build --tag agentpass .
# For several platforms at once: docker buildx build --platform linux/amd64,linux/arm64,linux/arm/v7,linux/arm/v6 .
FROM alpine:3.22 AS certificates

FROM scratch
ARG TARGETARCH
ARG TARGETVARIANT
# Certificate authorities, for services with https.
COPY --from=certificates /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY tools /usr/share/agentpass/tools
COPY target/dist/agentpass-${TARGETARCH}${TARGETVARIANT} /usr/bin/agentpass
# Nobody in particular; the folder for the record has to be writable for it.
USER 10001:10001
# config.yaml, permissions.yaml, tools/, data/ and certs/ are mounted here.
WORKDIR /agentpass
EXPOSE 8443
ENTRYPOINT ["/usr/bin/agentpass"]
CMD ["serve"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/bin/agentpass", "status"]
