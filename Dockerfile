# One image per program, by target: web-store, transformer, marketing, console.

FROM rust:1.95-slim-trixie AS rust
WORKDIR /build
# glibc is linked statically, so the binaries need nothing of the image that they run in. With an explicit
# target, the flag does not reach build scripts and procedural macros, which cannot be linked statically.
ENV CARGO_BUILD_TARGET=host-tuple RUSTFLAGS="-C target-feature=+crt-static" SQLX_OFFLINE=true

# The manifests with empty sources. They change only when a dependency changes, so the layer of built
# dependencies stays cached.
FROM rust AS manifests
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock \
        ! -path '*/src/lib.rs' ! -path '*/src/main.rs' ! -path '*/benches/*.rs' -delete \
    && find . -type d -empty -delete \
    && for source in $(find . -name '*.rs'); do echo '#![allow(warnings)] fn main() {}' > "$source"; done

# The dependencies first, then the programs. Cargo compares time stamps, so the sources are touched.
FROM rust AS programs
ARG BUILD="cargo build --release --locked -p web-store -p transformer -p marketing -p console"
COPY --from=manifests /build .
RUN $BUILD
COPY . .
RUN touch */src/lib.rs */src/main.rs && $BUILD

# No shell, no package manager, no root: certificates and a user.
FROM gcr.io/distroless/static-debian13:nonroot AS runtime

FROM runtime AS console
COPY --from=programs /build/target/*/release/console /
ENV CONSOLE_LISTEN=0.0.0.0:8083
EXPOSE 8083
ENTRYPOINT ["/console"]

FROM runtime AS transformer
COPY --from=programs /build/target/*/release/transformer /
ENV TRANSFORMER_LISTEN=0.0.0.0:8082
EXPOSE 8082
ENTRYPOINT ["/transformer"]

FROM runtime AS marketing
COPY --from=programs /build/target/*/release/marketing /
ENV MARKETING_LISTEN=0.0.0.0:8081
EXPOSE 8081
ENTRYPOINT ["/marketing"]

FROM runtime AS web-store
COPY --from=programs /build/target/*/release/web-store /
ENV WEB_STORE_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["/web-store"]
