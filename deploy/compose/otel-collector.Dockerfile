# The collector's image has no shell and no client to ask it how it is: one static program is added for that.
FROM busybox:1.37.0-musl AS probe

FROM otel/opentelemetry-collector:0.149.0
COPY --from=probe /bin/busybox /bin/wget
