# What people run. `.ci/run` runs the same on a machine that is thrown away, and installs what it misses.

# Everything that must hold before a change is taken.
check: lint test docs scrape

# Format and lints.
lint:
    cargo fmt --check
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

# What a scrape, a cycle and an allocation cost.
bench *arguments:
    cargo bench --locked {{ arguments }}

# Licences, advisories and sources of the dependencies (cargo install cargo-deny).
deny:
    cargo deny check

# The unit, as systemd sees it.
unit:
    systemd-analyze security --offline=true --no-pager systemd/ballast.service

# A minute of each target that reads what miners say, from the captured replies on; without cargo-fuzz.
fuzz-miners seconds="60":
    fuzz/build miner_cgminer miner_frames miner_http
    for target in miner_cgminer miner_frames miner_http; do \
        mkdir -p fuzz/corpus/$target && ASAN_OPTIONS=detect_odr_violation=0 "${CARGO_TARGET_DIR:-fuzz/target}/x86_64-unknown-linux-gnu/release/$target" \
            -max_total_time={{ seconds }} -max_len=16384 -dict=fuzz/dictionaries/miner.dict \
            fuzz/corpus/$target tests/fixtures || exit 1; \
    done
