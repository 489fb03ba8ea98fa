# What there is to do here; `make` alone lists it. Go and make are all it needs,
# except where a line says more.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Built things that outlive a clone, each in a folder named by what it was built from.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/otelcol-custom
TOOL := go tool -modfile=tools/go.mod
BIN := bin/otelcol-custom
LINTERS := $(CACHE)/linters-$(shell cksum < tools/requirements.txt | cut -d ' ' -f 1)/bin

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

##@ Use

.PHONY: build
build: ## Build bin/otelcol-custom: static, stripped, stamped with version and commit
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags '-s -w' -o $(BIN) ./cmd/otelcol-custom

.PHONY: run
run: build ## Build and run with configs/console.yaml: OTLP on localhost:4317 and :4318, printed to the console
	./$(BIN) --config configs/console.yaml

.PHONY: demo
demo: ## Send one trace to the collector that `make run` started in another terminal
	@(exec 3<> /dev/tcp/localhost/4317) 2> /dev/null || \
		{ echo "Nothing listens on localhost:4317. Run \"make run\" in another terminal first."; exit 1; }
	@out=$$($(TOOL) telemetrygen traces --otlp-insecure --traces 1 --child-spans 1 --service checkout \
		--telemetry-attributes 'order_id="1234"' 2>&1) || { echo "$$out"; exit 1; }
	@echo 'Sent: a trace of two spans from the service "checkout". It is on the console of "make run".'

.PHONY: dist
dist: ## Build dist/*.tar.gz and *.zip for Linux, macOS and Windows, with SBOMs and SHA256SUMS
	tools/dist.sh

.PHONY: image
image: ## Build dist/*.image.tar for linux/amd64 and arm64 (needs podman, buildah or docker); tools/image.sh has its variables
	tools/image.sh

##@ Change

.PHONY: generate
generate: ## Write again what is generated: cmd/otelcol-custom and every component's metadata
	mkdir -p cmd
	$(TOOL) builder --config builder-config.yaml --skip-get-modules --skip-compilation
	gofmt -w cmd/otelcol-custom
	go generate ./...

.PHONY: fmt
fmt: ## Format the Go code
	$(TOOL) golangci-lint fmt

.PHONY: tidy
tidy: ## Tidy every go.mod
	for mod in . tools $(wildcard test/servers/*/go.mod); do (cd "$${mod%go.mod}" && go mod tidy); done

##@ Check

.PHONY: check
check: check-generated lint test race e2e-sdks e2e oracle ## All that CI runs but for e2e-image and e2e-cluster, which need root

.PHONY: check-generated
check-generated: generate ## Fail when generated code is stale (on a clean checkout)
	@stale=$$(git status --porcelain); if [ -n "$$stale" ]; then \
		echo "make generate changes these files; commit what it writes:"; echo "$$stale"; exit 1; fi

.PHONY: lint
lint: $(LINTERS)/yamllint ## Lint Go, shell and YAML (needs python3 for the last two)
	$(TOOL) golangci-lint run --allow-parallel-runners
	$(LINTERS)/shellcheck .ci/run $$(git ls-files '*.sh')
	$(LINTERS)/yamllint --strict .

$(LINTERS)/yamllint: tools/requirements.txt
	python3 -m venv $(LINTERS)/..
	$(LINTERS)/pip install --quiet --disable-pip-version-check --requirement tools/requirements.txt
	@touch $@

.PHONY: test
test: ## Run the unit tests
	go test ./...
	cd tools && go test ./...

.PHONY: race
race: ## Run the unit tests of our components with the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./internal/... ./receiver/... ./processor/... ./exporter/... ./extension/...

# Packages with end-to-end tests; one after the other, since they share the machine. Tests that
# run side by side mostly wait, so there may be more of them than cores.
E2E := ./test/e2e/... ./test/dist/... ./test/kubetest/... ./test/deploy/... ./processor/k8senrich/... ./test/operator/... ./test/monitoring/...

.PHONY: e2e
e2e: build ## Drive the built binary against real servers; the first run builds Jaeger and Kubernetes
	go test -tags e2e -count 1 -p 1 -parallel 3 -timeout 40m $(E2E)

.PHONY: e2e-cluster
e2e-cluster: build ## Run deploy/kustomize with real pods (needs Linux, root, runc, containernetworking-plugins, iptables and iproute2)
	go test -tags cluster -count 1 -parallel 3 -timeout 60m -v ./test/cluster

.PHONY: e2e-sdks
e2e-sdks: build ## Run the example apps under the SDKs of Python, Node.js and Java against the binary
	go test -tags sdks -count 1 -timeout 20m ./test/sdks/...

.PHONY: oracle
oracle: build ## Compare what arrives at Application Insights with Microsoft's exporters for Node.js and Python
	go test -tags oracle -count 1 -timeout 20m ./test/oracle

.PHONY: e2e-image
e2e-image: ## Build the image twice, compare, and run it locked down in 200 MB (needs Linux, root, podman and runc)
	go test -tags image -count 1 -timeout 30m ./test/image/...

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME (default 30s)
	for pkg in $$(go list ./internal/... ./receiver/... ./processor/... ./exporter/...); do \
		for target in $$(go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(or $(FUZZTIME),30s) -fuzzminimizetime 1s "$$pkg"; \
		done; \
	done

.PHONY: bench
bench: ## Run the benchmarks of our components, beside what they are compared with
	go test -run '^$$' -bench . -benchmem ./receiver/... ./processor/... ./exporter/... ./extension/...
