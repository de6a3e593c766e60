# An image for each service, by target: web-store, transformer, marketing. And one for the tools: stack.

FROM rust:1.95-slim-trixie AS rust
WORKDIR /build
# glibc is linked in, so the binaries need nothing of the image that they run in. Naming a target keeps
# that flag away from build scripts and procedural macros, which cannot be linked so.
ENV CARGO_BUILD_TARGET=host-tuple RUSTFLAGS="-C target-feature=+crt-static" SQLX_OFFLINE=true

# The manifests, with empty sources. They come out the same, and what is built from them stays cached,
# until a dependency changes.
FROM rust AS manifests
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock \
        ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/benches/*.rs' -delete \
    && find . -type d -empty -delete \
    && for source in $(find . -name '*.rs'); do echo '#![allow(warnings)] fn main() {}' > "$source"; done

# The dependencies, then all services in one go. Cargo goes by time stamps: touching the sources makes
# them newer than the empty ones.
FROM rust AS services
COPY --from=manifests /build .
RUN cargo build --release --locked --workspace --exclude stack
COPY . .
RUN touch */src/lib.rs */src/main.rs && cargo build --release --locked --workspace --exclude stack

# Apart, since they would make building the services half as long again.
FROM rust AS tools
COPY --from=manifests /build .
RUN cargo build --release --locked --package stack
COPY . .
RUN touch */src/lib.rs */src/main.rs && cargo build --release --locked --package stack

# No shell, no package manager, no root: certificates and a user.
FROM gcr.io/distroless/static-debian13:nonroot AS runtime

FROM runtime AS stack
COPY --from=tools /build/target/*/release/stack /
ENTRYPOINT ["/stack"]

FROM runtime AS transformer
COPY --from=services /build/target/*/release/transformer /
ENV TRANSFORMER_LISTEN=0.0.0.0:8082
EXPOSE 8082
ENTRYPOINT ["/transformer"]

FROM runtime AS marketing
COPY --from=services /build/target/*/release/marketing /
ENV MARKETING_LISTEN=0.0.0.0:8081
EXPOSE 8081
ENTRYPOINT ["/marketing"]

FROM runtime AS web-store
COPY --from=services /build/target/*/release/web-store /
ENV WEB_STORE_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["/web-store"]
