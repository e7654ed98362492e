# Everything a newcomer, a contributor or CI runs. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo

help:  ## lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo:  ## starts a server, drives it with the official SDK, ends with 6765
	@scripts/demo

build:  ## builds the binary for use: target/release/tenure
	@scripts/setup
	$(CARGO) build --release --package tenure

test:  ## everything that must hold: unit, conformance, SDK and crash tests
	@scripts/test

test-long:  ## as test, at length: a hundred kills, ten thousand subscribers, half an hour's load
	@scripts/test long

lint:  ## format, clippy without warnings, tidy
	@scripts/setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- --deny warnings
	$(CARGO) xtask tidy

bench:  ## prints the numbers we aim at beside those reached here
	@scripts/bench

clean-demo:  ## removes what the demo and the SDK tests installed
	rm -rf target/demo target/sdk

.PHONY: help demo build test test-long lint bench clean-demo
