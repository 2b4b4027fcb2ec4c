# What people run. `.ci/run` runs the same on a machine that is thrown away, and installs what it misses.

# Everything that must hold before a change is taken.
check: lint test docs scrape queries

# Format and lints.
lint:
    cargo fmt --all --check
    cargo clippy --all-targets --locked -- -D warnings

# All tests; those that need a tool that is not installed say SKIPPED.
test:
    cargo test --locked

# The documentation of the code, without a warning.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

# A simulated site with the real daemon in front of it.
demo *arguments:
    cargo run --release --locked -- demo {{ arguments }}

# The demo, scraped and looked at with promtool.
scrape: test
    .ci/demo "${CARGO_TARGET_DIR:-target}/debug/ballast"

# Every query of the Grafana dashboards, run by a Prometheus that scrapes the demo.
queries: test
    .ci/monitoring "${CARGO_TARGET_DIR:-target}/debug/ballast"

# What a scrape, a cycle and an allocation cost.
bench *arguments:
    cargo bench --locked {{ arguments }}

# Licences, advisories and sources of the dependencies (cargo install cargo-deny).
deny:
    cargo deny check

# The unit, as systemd sees it.
unit:
    systemd-analyze security --offline=true --no-pager systemd/ballast.service

# A minute of each fuzz target, from what is in the repository on; without cargo-fuzz. For a night, not for every change:
# with names after the time, only those.
fuzz seconds="60" *targets:
    fuzz/run {{ seconds }} {{ targets }}

# The program without any library of the system, for machines of other distributions (rustup target add
# x86_64-unknown-linux-musl; package musl-tools; cargo install --locked cargo-auditable).
static:
    cargo auditable build --release --locked --target x86_64-unknown-linux-musl

# The Debian package, in target/debian (cargo install --locked cargo-deb cargo-auditable). The program carries the list of
# what is linked into it.
deb:
    cargo auditable build --release --locked
    packaging/deb "${CARGO_TARGET_DIR:-target}/release/ballast" "${CARGO_TARGET_DIR:-target}/debian"

