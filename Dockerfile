# syntax=docker/dockerfile:1
# The service alone, for a PostgreSQL that runs elsewhere (DATABASE_URL). No PostgreSQL is inside.
#
#   docker build -t flashdeal .
#   docker run --rm --name flashdeal --read-only --cap-drop ALL --security-opt no-new-privileges \
#     --stop-timeout 40 --ulimit nofile=65536 -p 127.0.0.1:3000:3000 -v "$PWD/secrets:/run/flashdeal:ro" \
#     -e 'DATABASE_URL=postgres://flashdeal:…@db.example/flashdeal?sslmode=verify-full' \
#     -e FLASHDEAL_AUTH=jwt -e FLASHDEAL_JWT_SECRET_FILE=/run/flashdeal/jwt_secret flashdeal
#
# Docker kills 10 s after SIGTERM unless it is told to wait longer than FLASHDEAL_SHUTDOWN_GRACE (30 s). The secret belongs to
# 65532 and is closed to others (deploy/secrets/README.md makes one).

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
# What a build reads, and no more: a changed document or script does not compile again.
COPY Cargo.toml Cargo.lock build.rs openapi.yaml ./
COPY .cargo .cargo
COPY .sqlx .sqlx
COPY migrations migrations
COPY src src
# The caches live with the builder, not in the image. They hold what another checkout built, too, and cargo goes by times of
# files, which COPY keeps: without `touch` older sources would pass for built. Symbols stay for names in backtraces, line
# tables go.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    touch build.rs src/lib.rs src/main.rs \
    && cargo build --release --locked --bin flashdeal \
    && cp target/release/flashdeal /flashdeal \
    && strip --strip-debug /flashdeal

FROM debian:12.11-slim
# Roots for TLS to managed databases (sslmode=verify-full); the base image has none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /flashdeal /usr/local/bin/flashdeal
# A number, so that an orchestrator can see that it is not root. Nothing is written: a read-only root will do.
USER 65532:65532
# Every address of the container; so FLASHDEAL_AUTH must be said, or the program refuses to start.
ENV FLASHDEAL_LISTEN=0.0.0.0:3000 \
    FLASHDEAL_LOG_FORMAT=json
EXPOSE 3000
# bash speaks TCP by itself: no curl, no wget in the image. Alive, not ready: a restart mends no database. The port is that
# of FLASHDEAL_LISTEN; for another address than all of them, or the flag --listen, give `docker run` a --health-cmd.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["bash", "-c", "port=${FLASHDEAL_LISTEN##*:}; exec 3<>/dev/tcp/127.0.0.1/${port:-3000} && printf 'GET /livez HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["/usr/local/bin/flashdeal"]
CMD ["serve"]
