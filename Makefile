# Everything from a clean clone: `make demo`, `make test`. What did not change is not made again.

SHELL := /bin/sh
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Runs a command while a Docker engine answers and with the sandbox image in it.
with_image := scripts/with-engine.sh sh -ec 'node dist/main.js image build; exec "$$@"' sh
# Arguments for mocha, for example: make test ARGS='--grep "timeout"'
ARGS :=

.PHONY: help demo test start sandbox-image build check soak audit clean

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-20s%s\n", $$1, $$2 }'

demo: build ## set everything up, run an example over HTTP, stop
	@$(with_image) node --import tsx scripts/demo.ts

test: build ## set everything up, run all tests but the long ones
	@$(with_image) npm test --silent -- $(ARGS)

start: build ## set everything up and serve until interrupted
	@$(with_image) node dist/main.js serve

sandbox-image: build ## build the image that programs run in
	@scripts/with-engine.sh node dist/main.js image build

build: node_modules/.stamp ## compile to dist/
	@npm run --silent build

check: node_modules/.stamp ## format, lint, types, dead code, layers, stale documents
	@npm run --silent check

soak: build ## the long tests
	@$(with_image) npm run --silent test:soak -- $(ARGS)

audit: build ## attack the sandbox, audit the packages, ask the doctor, write docs/security-report.md
	@$(with_image) node --import tsx scripts/audit.ts

clean: ## remove what was built, the caches, and the project's images from an engine that answers
	@if [ -f dist/main.js ] && node scripts/engine-probe.mjs >/dev/null 2>&1; then node dist/main.js image prune --all; fi
	@rm -rf dist coverage .cache

# No package needs its install script.
node_modules/.stamp: package-lock.json
	@node -e 'const [major, minor] = process.versions.node.split(".").map(Number); if (major < 20 || (major === 20 && minor < 19)) { console.error("Code Mode needs Node.js 20.19 or newer; this is " + process.version + "."); process.exit(1); }'
	@echo "Installing packages ..."
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
