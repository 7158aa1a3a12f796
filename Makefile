# Everything here runs without a question and can be run again at any time. `make help` lists the targets.
#
# Variables, on the command line or in the environment:
#   FUZZTIME        how long `make fuzz` spends on each target (20s)
#   TURNOUT_SOAK    how long the mixed load of `make soak` lasts (1h). `make soak TURNOUT_SOAK=10m TESTFLAGS='-run TestSoak -v'`
#                   is that alone, with its figures
#   TURNOUT_FAILOVERS  how many primaries of the shared store die under the nodes in `make soak` (20). `make soak TURNOUT_FAILOVERS=100
#                   TESTFLAGS='-run TestNodesOverFailovers -v'` is that alone
#   TURNOUT_SCALE   how far the long tests go: empty is the floor that every run proves, "full" is what `make soak` sets
#   RUN_CONFIG      a settings file that `make run` serves, with a legacy bot beside it, in place of the demo
#   RUN_FLAGS       added to `bin/turnout serve` by `make run`: --listen 127.0.0.1:9090
#   TESTFLAGS       added to `go test` by `make test`, `make race` and `make soak`
#   REDIS           the redis-server of the tests of the shared store (Debian's, which is installed if it is missing; its service
#                   is not left running)
#   CHROMIUM        the browser of `make test-browser` (Debian's, which is installed if it is missing)
#   BENCHFLAGS      added to `bin/turnout bench` by `make bench`

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO_MIN   := 1.26
NODE_MIN := 20.19

FUZZTIME   ?= 20s
RUN_CONFIG ?=
RUN_FLAGS  ?=
TESTFLAGS  ?=
BENCHFLAGS ?=

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

CACHE     := $(CURDIR)/.cache
LEGACYBOT := deploy/testbed/legacybot
LEGACYBOT_READY := $(LEGACYBOT)/node_modules/.package-lock.json
MODEL := deploy/testbed/model
MODEL_READY := $(MODEL)/node_modules/.package-lock.json
S3 := deploy/testbed/s3
S3_READY := $(S3)/node_modules/.package-lock.json
OPENAPI := deploy/testbed/openapi
OPENAPI_READY := $(OPENAPI)/node_modules/.package-lock.json
WHATSAPP := deploy/testbed/whatsapp
WHATSAPP_READY := $(WHATSAPP)/node_modules/.package-lock.json
BROWSER := deploy/testbed/browser
BROWSER_READY := $(BROWSER)/node_modules/.package-lock.json

# Web apps: each is a folder with package.json and src, whose `npm run build` fills dist, which a Go package embeds. A new
# one is a line here. Nothing is installed or built again while what it is made of stays the same.
WEB_APPS  := adapters/web/widget gateway/console
WEB_BUILT := $(WEB_APPS:%=$(CACHE)/web/%.built)

REDIS ?= redis-server

export CHROMIUM

# Tests that drive the legacy bot read its folder from here; without the variable they are not part of `go test`.
export TURNOUT_LEGACYBOT := $(CURDIR)/$(LEGACYBOT)
# So is the folder with the client generator.
export TURNOUT_OPENAPI := $(CURDIR)/$(OPENAPI)
# And the folder with the server that stands in the place of a model.
export TURNOUT_MODEL := $(CURDIR)/$(MODEL)
# And the folder with clients of the WhatsApp Cloud API.
export TURNOUT_WHATSAPP := $(CURDIR)/$(WHATSAPP)
# And the folder with a server of the S3 API.
export TURNOUT_S3 := $(CURDIR)/$(S3)
# And those of the shared store this server; with the variable a missing one is a failure.
export TURNOUT_REDIS := $(REDIS)
# And so do those that put proxies before the gateway.
export TURNOUT_PROXIES := 1
export TURNOUT_SCALE
export TURNOUT_SOAK
export TURNOUT_FAILOVERS

GO_DIRS   := $(wildcard adapters gateway rules sidecar deploy)
# The packages in which goroutines meet. Only those that exist are run.
RACE_DIRS := $(wildcard gateway/conversation gateway/pipeline gateway/store gateway/outbox gateway/privacy)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build $(if $(RUN_CONFIG),$(LEGACYBOT_READY)) ## start the demo: a shop, its bot, rules, an agent
	@$(if $(RUN_CONFIG),deploy/testbed/run $(RUN_CONFIG),exec bin/turnout serve $(RUN_FLAGS))

.PHONY: build
build: need-go $(WEB_BUILT) ## build bin/turnout with its web apps
	@CGO_ENABLED=0 go build -trimpath -o bin/turnout ./gateway/cmd/turnout

.PHONY: test
test: need-go need-curl need-redis need-proxies $(LEGACYBOT_READY) $(MODEL_READY) $(OPENAPI_READY) $(WHATSAPP_READY) $(S3_READY) $(WEB_BUILT) ## run all tests; installs what they need
	@TURNOUT_WEB_BUILT=1 go test -timeout 12m $(TESTFLAGS) ./...
	@$(MAKE) --no-print-directory test-web test-browser

.PHONY: test-web
test-web: $(WEB_APPS:%=$(CACHE)/web/%.tested) ## run the tests of the web apps that changed

.PHONY: test-browser
test-browser: need-chromium $(BROWSER_READY) build ## drive browsers against the real gateway
	@cd $(BROWSER) && npm test --silent

.PHONY: race
race: need-go need-gcc need-redis $(S3_READY) ## run the tests of the concurrent packages with the race detector
	@CGO_ENABLED=1 go test -race -short -timeout 20m $(TESTFLAGS) $(RACE_DIRS:%=./%/...)

.PHONY: soak
soak: need-go need-curl need-redis need-proxies $(LEGACYBOT_READY) $(MODEL_READY) $(OPENAPI_READY) $(WHATSAPP_READY) $(S3_READY) ## run the long tests at full scale (hours)
	@TURNOUT_SCALE=full go test -count=1 -timeout 6h $(TESTFLAGS) ./adapters/... ./gateway/...

.PHONY: bench
bench: build ## compare the gateway with bare proxies and print ratios
	@command -v nginx >/dev/null || echo "nginx is not installed and will be missing from the comparison: apt-get install nginx-light"
	@bin/turnout bench $(BENCHFLAGS)

.PHONY: fuzz
fuzz: need-go need-redis ## run every fuzz target for FUZZTIME
	@for package in $$(go list ./...); do \
		listed=$$(go test -list '^Fuzz' $$package) || { echo "$$listed"; exit 1; }; \
		for target in $$(grep '^Fuzz' <<<"$$listed" || true); do \
			echo "== $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: fmt
fmt: need-go ## format the code
	@gofmt -w $(GO_DIRS)

.PHONY: lint
lint: need-go $(CACHE)/bin/staticcheck ## gofmt, vet, staticcheck; govulncheck where its database can be reached
	@bad=$$(gofmt -l $(GO_DIRS)); \
	if [ -n "$$bad" ]; then printf 'not formatted; run make fmt:\n%s\n' "$$bad"; exit 1; fi
	@go vet ./...
	@$(CACHE)/bin/staticcheck ./...
	@$(MAKE) --no-print-directory vulnerabilities

# Exit code 3 of govulncheck means that it found something; any other failure that it could not look.
.PHONY: vulnerabilities
vulnerabilities:
	@test -x $(CACHE)/bin/govulncheck || GOBIN=$(CACHE)/bin timeout 300 go install $(GOVULNCHECK) || true; \
	code=0; timeout 300 $(CACHE)/bin/govulncheck ./... || code=$$?; \
	case $$code in \
	0) ;; \
	3) exit 1 ;; \
	*) printf '\n%s\n%s\n%s\n\n' \
		'*****************************************************************************************' \
		'*  NOT CHECKED FOR KNOWN VULNERABILITIES: govulncheck or its database is not reachable  *' \
		'*****************************************************************************************' >&2 ;; \
	esac

# The stamp changes with the versions above.
$(CACHE)/bin/staticcheck: Makefile | need-go
	@mkdir -p $(CACHE)/bin
	@GOBIN=$(CACHE)/bin go install $(STATICCHECK)
	@touch $@

# Exactly the versions of package-lock.json, for every folder that has one.
%/node_modules/.package-lock.json: %/package.json %/package-lock.json | need-node
	@cd $* && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# $(call web-app,folder): what it is made of, and the stamps of what was built and tested from that.
define web-app
$(CACHE)/web/$(1).built: $(1)/node_modules/.package-lock.json $$(wildcard $(1)/*.json $(1)/*.mjs $(1)/*.ts $(1)/*.js $(1)/*.html $(1)/public/*) $$(shell find $(1)/src -type f)
	@echo "building $(1)"
	@cd $(1) && npm run --silent check && npm run --silent build
	@mkdir -p $$(@D) && touch $$@

$(CACHE)/web/$(1).tested: $(CACHE)/web/$(1).built $$(shell find $(1)/test -type f)
	@echo "testing $(1)"
	@cd $(1) && npm test --silent
	@touch $$@
endef
$(foreach app,$(WEB_APPS),$(eval $(call web-app,$(app))))

$(WHATSAPP_READY): $(WHATSAPP)/package.json $(WHATSAPP)/package-lock.json | need-node
	@cd $(WHATSAPP) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

$(OPENAPI_READY): $(OPENAPI)/package.json $(OPENAPI)/package-lock.json | need-node
	@cd $(OPENAPI) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# $(call at-least,program,wanted,command that prints a version,how to get it)
define at-least
	@have=$$($(3) 2>/dev/null | grep -o '[0-9][0-9.]*' | head -n 1 || true); \
	if [ -z "$$have" ] || [ "$$(printf '%s\n' $(2) "$$have" | sort -V | head -n 1)" != "$(2)" ]; then \
		echo "turnout needs $(1) $(2) or newer, found $${have:-none}." >&2; echo "$(4)" >&2; exit 1; \
	fi
endef

# $(call installed,command,Debian package)
define installed
	@command -v $(1) >/dev/null || { \
		echo "installing $(2)" >&2; \
		root=$$( [ "$$(id -u)" = 0 ] || echo "sudo -n" ); \
		{ $$root apt-get update -q && $$root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(2); } >&2 || \
		{ echo "could not install $(2): install it and run make again" >&2; exit 1; }; \
	}
endef

.PHONY: need-go need-node need-curl need-gcc need-chromium need-redis need-proxies
need-go:
	$(call at-least,Go,$(GO_MIN),go env GOVERSION,Get it from https://go.dev/dl/ and put its bin folder into PATH.)
need-node:
	$(call at-least,Node,$(NODE_MIN),node --version,Get it from https://nodejs.org/en/download or from your system's packages.)
need-curl:
	$(call installed,curl,curl)
need-proxies:
	$(call installed,nginx,nginx-light)
	$(call installed,haproxy,haproxy)
	$(call installed,caddy,caddy)
need-gcc:
	$(call installed,gcc,gcc libc6-dev)
need-chromium:
	$(if $(CHROMIUM),,$(call installed,chromium,chromium))
# The tests start servers of their own; the one that the package starts is stopped again.
need-redis:
	@command -v $(REDIS) >/dev/null || fresh=1; \
	$(MAKE) --no-print-directory install-redis; \
	if [ -n "$${fresh:-}" ] && [ -d /run/systemd/system ]; then $$( [ "$$(id -u)" = 0 ] || echo "sudo -n" ) systemctl disable --quiet --now redis-server; fi

.PHONY: install-redis
install-redis:
	$(call installed,$(REDIS),redis-server)
