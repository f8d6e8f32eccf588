# Gatehouse. `make` alone lists the targets.

# The check installs the C compiler that cgo needs, so that it is itself built without. It takes
# the shell's place: signals that make passes on reach it, and make waits until it has cleaned up.
CHECK = CGO_ENABLED=0 go build -buildvcs=false -o tools/bin/check ./internal/check && exec tools/bin/check

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

.DEFAULT_GOAL = help
.PHONY: help run test bench fuzz fmt generate lint dist audit nightly clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\): *## */  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: ## serve on http://localhost:8080 with the embedded stores
	go run .

test: ## all checks and tests, on servers of their own; installs what is missing
	@$(CHECK) test

bench: ## benchmarks, on servers of their own; installs wrk (docs/benchmarks.md)
	@$(CHECK) bench

fuzz: ## every fuzz target for 20 seconds
	@$(CHECK) fuzz

fmt: ## format the Go code
	gofmt -w .

generate: ## the Go code of the pages, after a change of templates/*.templ
	go generate ./templates

lint: ## gofmt, generated code, vet, staticcheck, go.mod; no servers needed
	@$(CHECK) lint

dist: ## a static binary in dist/
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X gatehouse/internal/config.version=$(VERSION)" -o dist/gatehouse .

audit: ## look for known vulnerabilities; needs the internet
	@$(CHECK) audit

nightly: ## the tests five times in random order, ten minutes of soaking, five minutes of every fuzz target, benchmarks
	@$(CHECK) nightly

clean: ## remove what was built and installed here; data/ stays
	rm -rf dist coverage coverage.out tools/bin tools/npm/node_modules
