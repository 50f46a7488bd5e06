#!/bin/sh
# Builds the server for the CodeCrafters runner. The target directory lies outside the checkout, as in their Rust
# template, so that the runner can keep it from one run to the next.
set -e
cd "$(dirname "$0")/.."
exec cargo build --release --target-dir=/tmp/codecrafters-build-redis-rust --manifest-path Cargo.toml
