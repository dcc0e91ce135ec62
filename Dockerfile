# Three images from one build: `sidecar`, `control` and `tools` (the command line and the demonstration).
#
#   docker build --target sidecar -t breakglass-sidecar .

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Each plane alone first, so that no image holds the other's code; what they share is compiled once.
RUN cargo build --release --locked --no-default-features --features sidecar --bin breakglass-sidecar \
 && cargo build --release --locked --no-default-features --features control --bin breakglass-control \
 && cargo build --release --locked --bin breakglass

FROM debian:bookworm-slim AS base
# Volumes take over owner and mode of the folder they are first mounted on.
RUN groupadd --system --gid 10001 breakglass \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin breakglass \
 && install -d -o breakglass -g breakglass -m 0700 /var/lib/breakglass /run/breakglass /certs /pinned
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
WORKDIR /var/lib/breakglass
USER breakglass

FROM base AS sidecar
COPY --from=build /src/target/release/breakglass-sidecar /usr/local/bin/
EXPOSE 8443 9901
ENTRYPOINT ["breakglass-sidecar"]
CMD ["--config", "/etc/breakglass/sidecar.toml"]

FROM base AS control
COPY --from=build /src/target/release/breakglass-control /usr/local/bin/
EXPOSE 9443 9444 9902
ENTRYPOINT ["breakglass-control"]
CMD ["--config", "/etc/breakglass/control.toml"]

FROM base AS tools
# `breakglass curl` runs curl.
USER root
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends curl \
 && rm -rf /var/lib/apt/lists/*
USER breakglass
COPY --from=build /src/target/release/breakglass /usr/local/bin/
ENTRYPOINT ["breakglass"]
