# What each target does stands beside it; `make` alone prints them.
# Everything that is installed goes to .tools, or comes from the Go proxy.

GO            ?= go
GOLANGCI      := v2.15.0
FUZZTIME      ?= 10s
POWERCUTS     ?= 200
BENCHSTAT     := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
BENCHTIME     ?= 0.5s
BENCHCOUNT    ?= 6
BENCHLAST     := docs/bench/last.txt
ROWS          ?=
TOOLS         := $(CURDIR)/.tools
LINT          := $(TOOLS)/golangci-lint-$(GOLANGCI)
WITH_ROOT     := $(if $(filter 0,$(shell id -u)),,sudo -E env PATH="$$PATH")
export CGO_ENABLED ?= 0

.PHONY: help build test race lint fuzz sim planted soak clients scenarios powercut prove bench bench-record bench-peers generate clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## build bin/waybill
	$(GO) build -trimpath -o bin/waybill ./cmd/waybill

test: go ## run all tests that need nothing but Go
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...

# The crash test of storage is one goroutine most of the time: two seeds are enough here.
race: go ## run the tests of the packages under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 30m $$($(GO) list ./internal/... | grep -v internal/storage)
	CGO_ENABLED=1 $(GO) test -race -timeout 30m ./internal/storage -crash.runs=2

lint: $(LINT) ## gofmt, vet, staticcheck, revive and more (.golangci.yml)
	@unformatted=$$(gofmt -l cmd internal test); [ -z "$$unformatted" ] || { echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; }
	$(LINT) run ./...

$(LINT):
	GOBIN=$(TOOLS) GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv $(TOOLS)/golangci-lint $@

# With a Go before 1.27 a target can end with the error of its own deadline, without any
# finding (go.dev/issue/75804). A finding names the input that it wrote, or a panic.
fuzz: go ## fuzz every target for FUZZTIME (10s)
	@mkdir -p bin; set -e; for file in $$(grep -rlE --include='*_test.go' '^func Fuzz' internal cmd test); do \
	  for f in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
	    echo "== $$f ($$(dirname $$file))"; \
	    if $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) > bin/fuzz.txt 2>&1; then \
	      cat bin/fuzz.txt; \
	    elif ! grep -qx ' *context deadline exceeded' bin/fuzz.txt || grep -qE 'Failing input|panic:|fatal error:|hung or terminated' bin/fuzz.txt; then \
	      cat bin/fuzz.txt; exit 1; \
	    else \
	      sed -n '/^fuzz:/p' bin/fuzz.txt; echo "ended by its own deadline, without a finding"; \
	    fi; \
	  done; \
	done

# One seed is one run of a whole cluster with faults; a failure prints its seed and its trace. FROM=N repeats seeds.
SEEDS ?= 500
FROM  ?= 0
ALONE ?= false
SOAK  ?= 1h
sim: go ## simulate SEEDS (500) clusters with new seeds, on all cores; ALONE=true: replicas without brokers
	$(GO) test -count=1 -v -timeout 60m -run TestSeeds ./internal/sim -runs=$(SEEDS) -from=$(FROM) -alone=$(ALONE)

planted: go ## show that the simulation finds the bugs that are planted in it
	$(GO) test -count=1 -v -timeout 60m -run TestPlantedBugs ./internal/sim -planted

soak: go ## simulate clusters with new seeds for SOAK (1h)
	$(GO) test -count=1 -v -timeout 0 -run TestSeeds ./internal/sim -soak=$(SOAK)

clients: go ## run the suites with stock clients; installs kcat, Python, Node and Java parts
	test/clients/run -v

# One scenario, of a dead leader, is part of make test.
SCENARIOS ?= *
scenarios: go ## play the stories of test/scenario/testdata; SCENARIOS='drain'
	$(GO) test -count=1 -v -timeout 10m ./test/scenario -scenarios '$(SCENARIOS)'

powercut: go ## cut the power of a broker under load POWERCUTS (200) times; needs root
	$(WITH_ROOT) env POWERCUTS=$(POWERCUTS) $(GO) test -count=1 -v -timeout 40m ./test/powercut/...

# CELLS: patterns of faults, or of mode/fault, with commas. A full run writes docs/promise.md.
CELLS ?=
RUNS  ?= 1
prove: go ## run the promise, cell by cell, against three nodes; CELLS='kill-*' RUNS=20; needs root
	$(WITH_ROOT) $(GO) test -count=1 -v -timeout 4h -run '^(TestProve|TestFindsAckBeforeSync|TestFindsAckOnMinority)$$' ./test/prove -prove -cells '$(CELLS)' -runs $(RUNS) $(if $(NOPAGE),,-page $(CURDIR)/docs/promise.md)

# One benchmark of each layer: codec, routing, queue, raft step, WAL batch, group commit, segment read,
# confirm path, produce, fetch, and the measuring client itself; then a whole node, from socket to disk and back.
BENCHES := Codec|Routing|Leader|Queue$$|Propose|Append|GroupCommit|RawSync|ReadSegments|PublishConfirm|ProduceDecode|FetchEncode|Client

bench: go ## run the micro-benchmarks of each layer and compare with the last recorded run
	@mkdir -p bin
	$(GO) test -run '^$$' -bench '^Benchmark($(BENCHES))' -benchmem -benchtime $(BENCHTIME) -count $(BENCHCOUNT) ./internal/... > bin/bench.txt || { cat bin/bench.txt; exit 1; }
	$(GO) test -run '^$$' -bench '^BenchmarkHotPath' -benchmem -benchtime 100000x -count $(BENCHCOUNT) ./test/bench >> bin/bench.txt || { cat bin/bench.txt; exit 1; }
	$(GO) run $(BENCHSTAT) $(wildcard $(BENCHLAST)) bin/bench.txt

bench-record: ## make the run of `make bench` the one to compare with
	cp bin/bench.txt $(BENCHLAST)

bench-peers: go ## measure beside RabbitMQ and Kafka, into docs/benchmarks.md; ROWS=amqp-1q,… SHORT=1
	test/bench/run -rows '$(ROWS)' $(if $(SHORT),-short)

generate: go ## write generated files again
	$(GO) generate ./...

clean: ## remove what was built
	rm -rf bin .tools

.PHONY: go
go:
	@command -v $(GO) >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/dl/"; exit 1; }
