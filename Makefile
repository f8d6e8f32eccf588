# Gatehouse. `make` alone lists the targets.

# exec: check takes the place of the shell, so that signals from make reach it and make waits
# until it has cleaned up.
CHECK = CGO_ENABLED=0 go build -buildvcs=false -o tools/bin/check ./internal/check && exec tools/bin/check

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# npm writes this file last.
NODE_MODULES = tools/npm/node_modules/.package-lock.json

# Debian's servers are in /usr/sbin. libpq's variables would change the defaults of tests.
export PATH := $(PATH):/usr/sbin:/sbin
unexport $(filter PG%,$(.VARIABLES))

.DEFAULT_GOAL = help
.NOTPARALLEL:
.PHONY: help run test bench fuzz fmt generate lint dist pictures audit nightly clean packages

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## */  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: ## serve on http://localhost:8080 with the embedded stores
	@echo "Compiling. The first time, this takes about a minute."
	@go run .

test: packages $(NODE_MODULES) ## run all checks and tests, on private servers; installs what is missing
	@$(CHECK) test

bench: packages ## run the benchmarks, on private servers; installs wrk (docs/benchmarks.md)
	@tools/install-packages wrk
	@$(CHECK) bench

fuzz: packages ## run each fuzz test for 20 seconds
	@$(CHECK) fuzz

fmt: ## format the Go code
	gofmt -w .

generate: ## regenerate the Go code of the pages, after a change to templates/*.templ
	go generate ./templates

lint: ## check formatting, generated code and go.mod; vet (also for macOS and Windows); staticcheck
	@$(CHECK) lint

dist: ## build a static binary, dist/gatehouse
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X gatehouse/internal/config.version=$(VERSION)" -o dist/gatehouse .

pictures: packages $(NODE_MODULES) ## renew the pictures of all pages in docs/pictures; show changes side by side in pictures/
	@$(CHECK) pictures

audit: ## look for known vulnerabilities; needs the internet
	@$(CHECK) audit

nightly: packages $(NODE_MODULES) ## run the tests five times in random order, a soak test, long fuzzing, benchmarks
	@$(CHECK) nightly

clean: ## remove what was built and installed here, but not data/
	rm -rf dist pictures coverage coverage.out tools/bin tools/npm/node_modules

packages:
	@tools/install-packages

$(NODE_MODULES): tools/npm/package-lock.json | packages
	npm --prefix tools/npm ci --ignore-scripts --no-audit --no-fund
