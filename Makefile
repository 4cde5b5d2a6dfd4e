SHELL         := bash
.SHELLFLAGS   := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS     += --no-builtin-rules --no-print-directory

GO         ?= go
UP_FLAGS   ?=
CHAOS_RUNS ?= 200
BENCHTIME  ?= 1s
BENCH_EVENTS ?= 1000000
PACKAGES   ?= ./...

# Without git, or without a commit, the version is "dev"; nothing depends on it.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Static binaries, and one set of compiled packages for binaries and tests.
export CGO_ENABLED ?= 0

build_decnet = $(GO) build -buildvcs=false -ldflags '-X main.version=$(VERSION)'
build_tool   = $(GO) -C tools/$(1) build -buildvcs=false -ldflags '-s -w' -o '$(CURDIR)/bin/$(2)' $(3)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: install-up build ## Install what is missing, build, and run everything in the foreground (UP_FLAGS="--listen ...")
	@exec bin/decnet up $(UP_FLAGS)

.PHONY: build
build: bin/decnet bin/decoy bin/temporal ## Build the binaries into bin/

.PHONY: test
test: install-test build ## Run all tests (PACKAGES=./internal/bus/...)
	@$(GO) test -timeout 20m $(PACKAGES)

.PHONY: test-race
test-race: install-race build ## Run all tests under the race detector
	@CGO_ENABLED=1 $(GO) test -race -timeout 45m $(PACKAGES)

.PHONY: lint
lint: bin/golangci-lint bin/sqlc bin/workflowcheck ## Check style, import rules, workflow determinism, SQL and scripts
	bin/golangci-lint run ./...
	$(GO) test -count=1 ./internal/arch
	bin/workflowcheck ./workflows/...
	bin/sqlc diff
	bin/sqlc vet
	scripts/lint-shell.sh

.PHONY: verify
verify: ## Regenerate and fail on a difference; check migrations, go.mod and documents
	@MAKE='$(MAKE)' scripts/verify.sh

.PHONY: generate
generate: bin/sqlc ## Generate the database code and the OpenAPI document
	bin/sqlc generate
	$(MAKE) bin/decnet
	bin/decnet openapi > bin/openapi.yaml
	mv bin/openapi.yaml api/openapi.yaml

.PHONY: bench
bench: install-test build ## Run the benchmarks (BENCHTIME=1s BENCH_EVENTS=1000000)
	@DECNET_BENCH_EVENTS=$(BENCH_EVENTS) $(GO) test -p 1 -run '^$$' -bench=. -benchtime=$(BENCHTIME) -timeout 1h ./bench/... ./db

.PHONY: chaos
chaos: install-test build bin/nats-server ## Kill things at random, CHAOS_RUNS times
	@CHAOS_RUNS=$(CHAOS_RUNS) $(GO) test -tags chaos -run Chaos -count=1 -v -timeout 4h ./chaos/...

.PHONY: docker-engine
docker-engine: ## Set up Debian's Docker engine and start it (as root); nothing else does
	@scripts/docker-engine.sh

.PHONY: fmt
fmt: bin/golangci-lint ## Format the Go code
	bin/golangci-lint fmt

# Below: steps of the targets above.

.PHONY: install-up install-test install-race
install-up install-test install-race: install-%:
	@scripts/install.sh $*

# Always asked to build; the go command knows what changed.
.PHONY: bin/decnet bin/decoy
bin/decnet bin/decoy: bin/%:
	@$(build_decnet) -o $@ ./cmd/$*

bin/temporal: tools/temporal/go.mod tools/temporal/go.sum
	$(call build_tool,temporal,temporal,github.com/temporalio/cli/cmd/temporal)

bin/nats-server: tools/nats/go.mod tools/nats/go.sum
	$(call build_tool,nats,nats-server,github.com/nats-io/nats-server/v2)

bin/golangci-lint: tools/lint/go.mod tools/lint/go.sum
	$(call build_tool,lint,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

bin/sqlc: tools/sqlc/go.mod tools/sqlc/go.sum
	$(call build_tool,sqlc,sqlc,github.com/sqlc-dev/sqlc/cmd/sqlc)

bin/workflowcheck: tools/workflowcheck/go.mod tools/workflowcheck/go.sum
	$(call build_tool,workflowcheck,workflowcheck,go.temporal.io/sdk/contrib/tools/workflowcheck)

# The user interface is embedded into bin/decnet, so it is built first where it exists.
ifneq ($(wildcard web/package.json),)
web_sources := $(shell find web -name node_modules -prune -o -name dist -prune -o -type f -print)

bin/decnet: web/dist/.built

web/dist/.built: $(web_sources) web/node_modules/.installed
	npm --prefix web run build --silent
	@touch $@

web/node_modules/.installed: web/package-lock.json
	npm --prefix web ci --silent --no-audit --no-fund
	@touch $@
endif
