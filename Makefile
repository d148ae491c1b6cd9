# A new user needs `make run` and `make test` only.
PYTHON ?= python3
BIN    := .venv/bin
SHELL  := bash
.SHELLFLAGS := -o pipefail -c

# Installs with a line for each library that it gets, so that nobody waits before a silent screen.
INSTALL  := $(BIN)/pip install --disable-pip-version-check --progress-bar off --editable
PROGRESS := | sed -u -n -e 's/^Collecting \([^ ]*\).*/  getting \1/p' -e 's/^Installing collected packages.*/  installing them/p'

.PHONY: run free-ports demo picture history catalogue test test-browser attack scan-web test-postgres test-long test-packages docs-test docs-test-once \
  wheel dist deb apt site sbom sbom-audit audit check hooks fmt docs bench mutate mutate-circulation

# Added to every port of the demo, if another program uses one of them: make run SHIFT=100
SHIFT ?= 0

.venv/.run: pyproject.toml
	@echo 'make: installing the gateway and its libraries into .venv, about a minute the first time'
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(INSTALL) '.[web]' $(PROGRESS)
	@touch $@

.venv/.test: pyproject.toml circprobe/pyproject.toml
	@echo 'make: installing the gateway and the tools of its tests into .venv, about two minutes the first time'
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@$(INSTALL) '.[test,web]' --editable ./circprobe $(PROGRESS)
	@touch .venv/.run $@

.venv/.bench: .venv/.run
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench,web]'
	touch $@

run: free-ports .venv/.run
	@$(BIN)/python -m demo run --shift $(SHIFT)

# Runs before the installation, with the machine's own Python.
free-ports:
	@$(PYTHON) -P demo/demo_ports.py $(SHIFT)

# The words of the pages into the Chinese catalogue; then translate those that are empty or marked fuzzy.
catalogue: .venv/.test
	$(BIN)/python -m tests.web.catalogue

demo: .venv/.run
	$(BIN)/python -m demo demo

# The picture of README.md, of the demo that `make run` serves: apt install chromium chromium-driver fonts-noto-cjk
picture: .venv/.test
	$(BIN)/python -m demo.picture --shift $(SHIFT)

# The history with which the demo begins, into demo/history.tar.xz: about ten minutes, only after a change of demo/build_history.py.
history: .venv/.test
	$(BIN)/python -m demo.build_history

# Each file of tests stays with one worker, so that its servers start once; tests/side_by_side.py lists the files that begin.
# Byte code is written even where the machine says not to: the suite starts hundreds of processes, each of which would compile.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder

test: .venv/.test
	$(PYTEST) $(SIDE_BY_SIDE)

# In Chromium, with the driver from Debian and the current axe: apt install chromium chromium-driver fonts-noto-cjk npm
test-browser: .venv/.test var/node_modules/axe-core
	$(BIN)/pytest tests/web -m browser -p no:randomly

var/node_modules/axe-core: Makefile
	npm install --silent --no-save --prefix var 'axe-core@>=4.14.1'
	@touch $@

# Long attacks on a daemon of this machine, one after the other, because they measure the waiting times of other callers.
attack: .venv/.test
	$(BIN)/pytest tests/attacks -m attack -p no:randomly

# Wapiti at the pages of a gateway of this machine, for about ten minutes; it has an environment of its own.
scan-web: .venv/.test
	test -x .venv-scan/bin/wapiti || $(PYTHON) -m venv .venv-scan
	.venv-scan/bin/pip install --quiet --disable-pip-version-check 'wapiti3>=3.2'
	HKALL_WAPITI=$$PWD/.venv-scan/bin/wapiti $(BIN)/pytest tests/attacks -m scan -p no:randomly

# Without the suites that have a target of their own.
COMMON := not attack and not browser and not scan and not chroot

# What `make test` leaves out: first failover and takeover, which measure, one after the other; then daemons, kills, upgrades, packages
# and long stories, with all examples of the properties; then `make test` on the second database. About ten minutes.
test-long: .venv/.test
	$(PYTEST) tests/long -m long -p no:randomly -rsfE -s
	$(PYTEST) $(SIDE_BY_SIDE) -m '(long or thorough or hypothesis) and $(COMMON)' --hypothesis-profile=thorough --ignore=tests/long -rsfE
	HKALL_TEST_DATABASE=postgresql $(PYTEST) $(SIDE_BY_SIDE)

# All of them with PostgreSQL wherever a test needs no SQLite file.
test-postgres: .venv/.test
	HKALL_TEST_DATABASE=postgresql $(PYTEST) $(SIDE_BY_SIDE) -m '$(COMMON)' --ignore=tests/long

# The Debian package on booted machines of Debian, and the image, as root. Debian's packages for it: aardvark-dns buildah docker-compose
# lintian mmdebstrap netavark nftables podman runc systemd-container
test-packages: .venv/.test
	$(BIN)/pytest tests/packages -m chroot -p no:randomly

# Wheel and source archive of the gateway, and the wheel of circprobe, into dist/, of a clean checkout.
dist: .venv/.test
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m build --wheel --no-isolation --outdir dist circprobe
	$(BIN)/twine check --strict dist/hkall_gateway-* dist/circprobe-*

# The Debian package into dist/, for this release of Debian: apt install build-essential debhelper python3-pip python3-venv
deb:
	packaging/build-deb dist

# A signed apt repository for this release of Debian in dist/apt: apt install gpg reprepro, and what `deb` needs.
apt: deb
	@test -n '$(APT_KEY)' || { echo 'make: name the key that signs: make apt APT_KEY=ADDRESS (docs/apt.md)'; exit 2; }
	packaging/build-apt dist/apt '$(APT_KEY)' "$$(ls -t dist/hkall-gateway_*.deb | head -n 1)"

# The pages, followed literally on machines of Debian 12 and 13 that systemd booted: as root, apt install mmdebstrap systemd-container.
# On an idle machine about half an hour. CI walks ONE_WAY on each, in about five minutes.
ONE_WAY := first_loan[bookworm-wheel-postgresql] or loses_no_data[trixie-package-sqlite]
docs-test: .venv/.test
	$(BIN)/pytest tests/walk -m chroot -p no:randomly -rsfE -s

docs-test-once: .venv/.test
	$(BIN)/pytest tests/walk -m chroot -p no:randomly -rsfE -s -k '$(ONE_WAY)'

# The wheels that run on every machine, into dist/: the gateway, and circprobe, which `doctor` runs where it is installed.
wheel: .venv/.test
	rm -rf build/lib build/bdist.* circprobe/build
	$(BIN)/python -m build --wheel --no-isolation
	$(BIN)/python -m build --wheel --no-isolation --outdir dist circprobe

check: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd circprobe && ../$(BIN)/mypy && ../$(BIN)/vulture
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m walks_a_table -k 'not postgresql' -p no:cacheprovider $$(grep -rl walks_a_table tests --include='test_*.py')
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml hkall_gateway
	@mkdir -p var
	PYTHONPATH=. $(BIN)/python packaging/used_by_name.py hkall_gateway bench demo docs/generate > var/used_by_name.py
	$(BIN)/vulture
	$(BIN)/vulture hkall_gateway bench demo docs/generate var/used_by_name.py

# The quick part of `make check` before each commit, and the length of its subject.
hooks: .venv/.test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[hooks]'
	$(BIN)/pre-commit install

fmt: .venv/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.test
	$(BIN)/python -m docs.generate.build docs

# The pages as a site with a search, in var/site; every link between pages is checked.
site: .venv/.run
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[site,web]'
	$(BIN)/sphinx-build -q -W --keep-going -c docs/site -d var/site-doctrees -b html . var/site
	@echo 'file://$(CURDIR)/var/site/index.html'

# Everything that an installation contains, with versions and licences, in var/sbom.json (CycloneDX).
sbom:
	$(PYTHON) -m venv --clear var/sbom-venv
	var/sbom-venv/bin/pip install --quiet --disable-pip-version-check '.[postgres,web]' ./circprobe
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[audit]'
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-file var/sbom.json var/sbom-venv/bin/python

# Known vulnerabilities of the libraries in .venv; asks a database on the Internet, so it is not part of `make check`. It fails where that
# database has no data about a library.
# Known vulnerabilities of the libraries in var/sbom.json. Exit code 3 of the script, which make shows: PyPI has given no data.
sbom-audit: sbom
	$(BIN)/python packaging/audit.py $(BIN)/pip-audit --path $$(var/sbom-venv/bin/python -c 'import site; print(site.getsitepackages()[0])')

audit: .venv/.test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[audit]'
	$(BIN)/python packaging/audit.py $(BIN)/pip-audit --local --skip-editable

# Mutation tests of the rules: about ten minutes; `.venv/bin/mutmut results` lists the mutants that no test notices.
mutate: .venv/.test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[mutate]'
	$(BIN)/mutmut run --max-children 2

# Three hundred mutants of circulation/, drawn by a seed: about a quarter of an hour.
mutate-circulation: .venv/.test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[mutate]'
	$(BIN)/python -m tests.mutation_sample 300 1

# make bench ARGS=--quick is a short run; ARGS=--list names the rows, ARGS=--help the options.
bench: .venv/.bench
	$(BIN)/python -m bench $(ARGS)
