# The two that matter: `make demo` does the main job on the built-in sample, `make test` proves the house.
PYTHON ?= python3
TESTS ?= tests
# Of the local build environment: cpu, cuda12 or cuda13.
FLAVOUR ?= cpu
GRAPH_OPS = $(wildcard containers/graph_ops/*.*)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check bench bench-gpu look screens env build-env

demo: env
	@.venv/bin/python -c "from toolkit.docker_engine import connect; connect(5)" 2>/dev/null || $(MAKE) --no-print-directory build-env
	@.venv/bin/python -m tests.services.with_registry .venv/bin/edge demo

test: env build-env .venv-build-test/.made .venv-checkov/.made
	@bash tests/services/up.sh
	@$(MAKE) --no-print-directory .venv-build/graph_ops/.made .venv-build-test/graph_ops/.made
	@echo "== what runs in the build image, in the build environment"
	@.venv-build-test/bin/python -m pytest tests/containers/build
	@echo "== publishing to Azure, by its own clients against stand-ins; they wait more than they compute"
	@.venv/bin/python -m pytest tests/azure -n 2
	@echo "== the house"
	@.venv/bin/python -m pytest $(TESTS) --ignore=tests/azure

check: env
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports

bench: env build-env
	@bash tests/services/up.sh
	.venv/bin/python -m tests.bench

# On a machine with a GPU: FLAVOUR=cuda12 for an older driver. WORK wants 60 GB.
bench-gpu: FLAVOUR = cuda13
bench-gpu: WORK = $(or $(TMPDIR),/tmp)/edge-bench-gpu
bench-gpu:
	$(MAKE) build-env FLAVOUR=$(FLAVOUR)
	.venv-build-$(FLAVOUR)/bin/python -m tests.bench_gpu $(WORK) --device gpu-$(FLAVOUR)

# The pictures that the tests hold against: look at each before keeping it.
look: env
	.venv/bin/python -m pytest tests/tui --snapshot-update -k "picture and not documentation"

# The pictures in the documentation.
screens:
	$(PYTHON) -m tests.tui.screens

env: .venv/.made
BUILD_ENV = .venv-build$(filter-out -cpu,-$(FLAVOUR))
build-env: $(BUILD_ENV)/.made $(BUILD_ENV)/graph_ops/.made

# The host side: the toolkit itself, editable, with what its tests need.
.venv/.made: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet -e '.[test,azure]'
	@touch $@

# The build side: Olive, PyTorch and ONNX Runtime, exactly the locked versions. The cpu lock knows PyTorch's CPU build by
# its hash; where pip finds only the general build (another Python, no index with CPU builds), the same versions are
# taken without hashes.
.venv-build/.made: containers/build/cpu.lock containers/build/cpu.in
	$(PYTHON) -m venv .venv-build
	.venv-build/bin/pip install --quiet --require-hashes --no-deps -r containers/build/cpu.lock || \
		{ echo "The locked wheels are not all here; taking the same versions without hashes." >&2; \
		  .venv-build/bin/pip install --quiet -r containers/build/cpu.in; }
	@touch $@

# For CUDA the hashes must hold: the same versions under other names would be another CUDA.
.venv-build-cuda%/.made: containers/build/cuda%.lock containers/build/model-builder.lock
	$(PYTHON) -m venv .venv-build-cuda$*
	.venv-build-cuda$*/bin/pip install --quiet --require-hashes --no-deps -r containers/build/cuda$*.lock
	$(PYTHON) containers/make_context.py builder .venv-build-cuda$*/model_builder --flavour cuda$*
	@touch $@

# Our graph operators, for graphs that the environment exports; left out where there is no C++ compiler, and made once there is.
%/graph_ops/.made: $(GRAPH_OPS) | %/.made
	@$(PYTHON) containers/graph_ops/build.py $(@D)
	@if ls $(@D)/*.so >/dev/null 2>&1; then touch $@; fi

# pytest beside the build environment, not in it: what is installed there is part of every cache key.
.venv-build-test/.made: .venv-build/.made pyproject.toml
	$(PYTHON) -m venv .venv-build-test
	.venv-build-test/bin/pip install --quiet 'pytest>=8.4,<9' 'pytest-asyncio>=1.2,<2'
	@.venv-build/bin/python -c "import site; print(site.getsitepackages()[0])" \
		> "$$(.venv-build-test/bin/python -c 'import site; print(site.getsitepackages()[0])')/build.pth"
	@touch $@

# The linter of deploy/azure by itself: it wants an older Bicep parser than the tests, and a hundred packages.
.venv-checkov/.made: tests/services/checkov.txt
	$(PYTHON) -m venv .venv-checkov
	.venv-checkov/bin/pip install --quiet -r tests/services/checkov.txt
	@touch $@
