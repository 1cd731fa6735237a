# Pawl. `make help` says what there is. All that is built goes to build/ and .build/.
# Tested on Linux; the lines under Darwin were never run.

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
ENV_FILE ?= Bindings/sample.env
SWIFT ?= swift
SWIFTC ?= swiftc
PYTHON ?= python3
CLANG ?= clang
FUZZ_SECONDS ?= 300
SHELL := /bin/bash

B := build
ROOMS := PawlCrypto PawlCore PawlStore PawlEngine PawlABI
MAPS := $(wildcard Include/module.modulemap Sources/*/module.modulemap)
HEADERS := $(wildcard Include/*.h Sources/C*/*.h)
# The folders are prerequisites too, so that a deleted file rebuilds the library.
FOLDERS := $(shell find $(ROOMS:%=Sources/%) -type d)
SOURCES := $(shell find $(ROOMS:%=Sources/%) -name '*.swift' | LC_ALL=C sort)
SWIFT_FOLDERS := $(wildcard Package.swift Sources Tests Bindings/Swift)

ifeq ($(shell uname),Darwin)
    SO := libpawl.0.dylib
    SO_LINK := libpawl.dylib
    SO_FLAGS = -dynamiclib -install_name @rpath/$(SO) -Wl,-exported_symbol,_pawl_* -Wl,-dead_strip
    STRIP := strip -x
    RELOCATABLE = ld -r -exported_symbol '_pawl_*' $B/pawl.o $(TABLES) -o $B/all.o
else
    SO := libpawl.so.0
    SO_LINK := libpawl.so
    SO_FLAGS = -shared -Wl,-soname,$(SO) -Wl,--version-script=$B/pawl.map -Wl,-z,relro -Wl,-z,now \
        -Wl,-z,noexecstack -Wl,-z,defs -Wl,--gc-sections -Wl,--as-needed -Wl,--build-id=none
    STRIP := strip --strip-unneeded
    RELOCATABLE = ld -r --force-group-allocation $B/pawl.o $(TABLES) -o $B/all.o && \
        objcopy --wildcard --keep-global-symbol='pawl_*' --strip-unneeded $B/all.o
endif

# Every core room in one module, without a Swift runtime. -Osize would be a quarter smaller and cost a round of rekeying 4 %.
# The pass would copy whole functions for each closure that they are called with.
EMBEDDED = -O -Xllvm -sil-disable-pass=closure-specialize -parse-as-library -wmo \
    -module-name PawlABI -package-name pawl -swift-version 6 \
    -suppress-warnings -enable-upcoming-feature InternalImportsByDefault \
    -enable-experimental-feature Embedded -enable-experimental-feature Lifetimes \
    -Xcc -fPIC -I Include -module-cache-path $(@D)/module-cache $(KEM) \
    $(patsubst %,-Xcc %,$(shell pkg-config --cflags libsodium sqlite3)) \
    $(patsubst %,-Xcc -fmodule-map-file=%,$(MAPS) $B/stubs/module.modulemap)
TARGET_INFO = $(shell $(SWIFTC) -print-target-info | sed -n 's/.*"$(1)": "\(.*\)".*/\1/p' | head -n 1)
TABLES = $(call TARGET_INFO,runtimeResourcePath)/embedded/$(call TARGET_INFO,triple)/libswiftUnicodeDataTables.a
SYSTEM_LIBS = $(shell pkg-config --libs libsodium sqlite3) -lm -lpthread
LIBS = $(SYSTEM_LIBS)

WARNINGS := -Wall -Wextra -Wpedantic -Werror
C_FLAGS := -std=c99 -O1 -g $(WARNINGS) -IInclude
C_LINK := -L$B -lpawl -lpthread -Wl,-rpath,$(CURDIR)/$B
C_TESTS := $(patsubst Tests/C/%.c,$B/tests/%,$(wildcard Tests/C/*.c))
PQ_TESTS := $(addprefix $B/pq/,suites vectors arguments rekey_processes session_erase session_kill session_races \
    session_restore)
EXAMPLES := $(patsubst Bindings/C/%.c,$B/examples/%,$(wildcard Bindings/C/*.c))

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: lib wheel test-wheel examples demo pictures test test-long bench bench-peers bench-docs peer-packages fuzz lint install clean help packages toolchain FORCE \
    pq test-pq test-swift test-c test-python test-library test-valgrind test-install test-example test-readme \
    test-fuzz test-matrix test-stranger valgrind-long

lib: $B/$(SO) $B/$(SO_LINK) $B/libpawl.a $B/pawl.pc ## build/libpawl.so.0, libpawl.a and pawl.pc

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 20

toolchain:
	@command -v $(SWIFTC) >/dev/null || { echo "make: no Swift toolchain here: install Swift 6.2" \
	    "or newer from https://www.swift.org/install and put swiftc on PATH." >&2; exit 1; }
	@Tests/Scripts/packages check

packages: ## install the system packages that tests and demo need (apt as root or through sudo)
	@Tests/Scripts/packages install

# ---------------------------------------------------------------- library

$B/stubs/module.modulemap: Makefile
	@mkdir -p $(@D)
	printf 'module %s {}\n' $(filter-out PawlABI,$(ROOMS)) > $@

$B/pawl.map: Makefile
	@mkdir -p $B
	echo 'PAWL_0 { global: pawl_*; local: *; };' > $@

# What the tests of suite 2 run against: the library over a stand-in for X-Wing, and over a libsodium that has it.
KEM :=
$B/kem/pawl.o: KEM := -Xcc -ITests/Kem
$B/kem/pawl.o: Tests/Kem/sodium.h
$B/pq/pawl.o: KEM := -Xcc -I$B/sodium/include
$B/pq/%: private C_FLAGS += -I$B/sodium/include
$B/pq/%: private LIBS = -L$B/sodium/lib -Wl,-rpath,$(CURDIR)/$B/sodium/lib $(SYSTEM_LIBS)

$B/pawl.o $B/kem/pawl.o $B/pq/pawl.o: $(SOURCES) $(FOLDERS) $(HEADERS) $(MAPS) $B/stubs/module.modulemap | toolchain
	@mkdir -p $(@D)
	$(SWIFTC) -c $(EMBEDDED) $(SOURCES) -o $@
	@touch $@ # The compiler leaves a file alone that comes out the same.

$B/$(SO) $B/kem/$(SO) $B/pq/$(SO): %/$(SO): %/pawl.o $B/pawl.map
	$(CC) $(SO_FLAGS) $< $(TABLES) $(LIBS) -o $@
	$(STRIP) $@

$B/$(SO_LINK): $B/$(SO)
	ln -sf $(SO) $@

$B/libpawl.a: $B/pawl.o
	$(RELOCATABLE)
	rm -f $@
	ar rcs $@ $B/all.o
	rm $B/all.o

$B/pawl.pc: Bindings/C/pawl.pc.in FORCE
	@mkdir -p $B
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' $< > $@

install: lib ## library, header and pkg-config file under DESTDIR and PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	install -m 755 $B/$(SO) $(DESTDIR)$(PREFIX)/lib/$(SO)
	ln -sf $(SO) $(DESTDIR)$(PREFIX)/lib/$(SO_LINK)
	install -m 644 $B/libpawl.a $(DESTDIR)$(PREFIX)/lib/libpawl.a
	install -m 644 $B/pawl.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/pawl.pc
	install -m 644 Include/pawl.h $(DESTDIR)$(PREFIX)/include/pawl.h

# libsodium and SQLite inside, and hidden: the host's own are not met.
$B/wheel/$(SO): $B/pawl.o $B/pawl.map
	@mkdir -p $(@D)
	$(CC) $(SO_FLAGS) $< $(TABLES) -Wl,-Bstatic -lsodium -lsqlite3 -Wl,-Bdynamic -lm -lpthread -o $@
	$(STRIP) $@

wheel: packages $B/wheel/$(SO) $B/venv/.made ## build/pawl-…-manylinux….whl, which needs no Swift, libsodium or SQLite
	@Tests/Scripts/wheel build

# ---------------------------------------------------------------- programs

examples: $(EXAMPLES)

$B/examples/%: Bindings/C/%.c Include/pawl.h | lib
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) $< -o $@ $(C_LINK)

# Some tests damage a closed store's file through SQLite, or search for what libsodium derives.
$B/tests/%: Tests/C/%.c $(wildcard Tests/C/*.h) Include/pawl.h | lib
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -D_GNU_SOURCE $< -o $@ $(C_LINK) $(LIBS)

.SECONDEXPANSION:
$B/kem/suites $(PQ_TESTS): Tests/C/$$(@F).c $(wildcard Tests/C/*.h) Include/pawl.h $$(@D)/$(SO) $B/tests/suites
	$(CC) $(C_FLAGS) -D_GNU_SOURCE -DOLD_PAWL='"$(CURDIR)/$B/tests/suites"' $< -o $@ $(@D)/$(SO) $(LIBS) \
	    -Wl,-rpath,$(CURDIR)/$(@D)

BENCH_HEADERS := $(wildcard Tests/Benchmarks/*.h) Tests/C/backup_server.h
$B/%_bench: Tests/Benchmarks/%_bench.c $(BENCH_HEADERS) Include/pawl.h | lib
	$(CC) $(C_FLAGS) -O2 -D_GNU_SOURCE $< -o $@ $(C_LINK) $(LIBS)

$B/pq/%_bench: Tests/Benchmarks/%_bench.c $(BENCH_HEADERS) Include/pawl.h $B/pq/$(SO)
	$(CC) $(C_FLAGS) -O2 -D_GNU_SOURCE $< -o $@ $B/pq/$(SO) $(LIBS) -Wl,-rpath,$(CURDIR)/$B/pq

$B/load_bench: Tests/Benchmarks/load_bench.c Include/pawl.h
	@mkdir -p $B
	$(CC) $(C_FLAGS) -D_GNU_SOURCE $< -o $@ -ldl

# Programs of others are linked with their own libraries alone: SQLCipher has SQLite's names.
SQL := $(addprefix $B/bench/credentials_,sqlite sealed sqlcipher)
PEERS := $(addprefix $B/bench/,peer_floor peer_pawl peer_olm peer_signal credentials_pawl)
$B/bench/%_pawl: private LIBS = $(C_LINK)
$B/bench/peer_floor: private LIBS = -lsodium
$B/bench/peer_olm: private LIBS = -lolm -lsqlite3
$B/bench/peer_signal: private LIBS = -lsignal-protocol-c -lcrypto -lsqlite3 -lpthread
$B/bench/credentials_sqlite: private LIBS = -lsqlite3
$B/bench/credentials_sealed: private LIBS = -DSEALED -lsqlite3 -lsodium
$B/bench/credentials_sqlcipher: private LIBS = -DCIPHER -lsqlcipher

$(PEERS): $B/bench/%: Tests/Benchmarks/%.c
$(SQL): Tests/Benchmarks/credentials_sql.c
$(PEERS) $(SQL): $(BENCH_HEADERS) Include/pawl.h | lib
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -O2 -D_GNU_SOURCE $(filter %.c,$^) -o $@ $(LIBS)

$B/bench/venv/.made: Makefile
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet vodozemac==0.10.0 python-olm==3.2.16
	@touch $@

demo: packages lib examples ## a .env file in three languages, a file over a bad link (ENV_FILE=, DEMO_FILE=path)
	@Bindings/demo "$(ENV_FILE)"

# Committed, because documentation is built without Python; a test compares it.
pictures: lib ## the documentation's pictures, and prints them as Mermaid text
	@PYTHONPATH=Bindings/Python/src PAWL_LIBRARY=$(CURDIR)/$B/$(SO) $(PYTHON) \
	    Bindings/Python/examples/draw_rekey.py Sources/Pawl/Pawl.docc/Resources/rekey.svg

bench: packages lib $B/store_bench $B/session_bench $B/rekey_bench $B/schedule_bench $B/sessions_bench $B/backup_bench $B/load_bench ## name,metric,value lines against the floor; X-Wing after test-pq
	@$B/store_bench $B/$(SO) $B/load_bench
	@$B/session_bench
	@$B/rekey_bench
	@$B/schedule_bench
	@$B/sessions_bench
	@$B/backup_bench
	@[ ! -e $B/sodium/lib ] || { $(MAKE) -s $B/pq/rekey_bench && PAWL_BENCH_QUICK=1 $B/pq/rekey_bench; }

bench-peers: packages peer-packages $(PEERS) $(SQL) $B/sessions_bench $B/schedule_bench $B/backup_bench $B/bench/venv/.made ## Pawl beside libolm, libsignal-protocol-c, vodozemac, python-olm, SQLite, SQLCipher: build/bench/*.csv
	@$(PYTHON) Tests/Benchmarks/measure.py $B

# Committed, because documentation is built without measuring.
bench-docs: ## puts what bench-peers measured last into the documentation: tables and pictures
	@$(PYTHON) Tests/Benchmarks/report.py $B/bench Sources/Pawl/Pawl.docc

peer-packages:
	@Tests/Scripts/packages peers

# ---------------------------------------------------------------- tests

test: packages lib test-swift test-c test-python test-pq test-library test-valgrind test-install ## all suites
test: test-example test-readme test-fuzz test-wheel test-stranger

test-swift: toolchain
	$(SWIFT) test -Xswiftc -warnings-as-errors --scratch-path .build/swift

test-c: $(C_TESTS) $B/kem/suites
	@Tests/Scripts/each $^

$B/venv/.made: Makefile
	$(PYTHON) -c 'import sys; sys.exit("Python 3.9 or newer is needed" if sys.version_info < (3, 9) else 0)'
	$(PYTHON) -m venv --clear $B/venv
	$B/venv/bin/pip install --quiet pytest mypy pynacl kyber-py wheel setuptools
	@touch $@

# Where no libsodium with X-Wing can be had, test-pq says so and passes.
test-pq: toolchain ## suite 2 with X-Wing itself: fetches Debian's newest libsodium to build/sodium, without installing it
	@Tests/Scripts/sodium $B/sodium
	@! [ -e $B/sodium/lib ] || $(MAKE) --no-print-directory pq

pq: $(PQ_TESTS) $B/venv/.made
	@Tests/Scripts/each $(PQ_TESTS)
	PAWL_LIBRARY=$(CURDIR)/$B/pq/$(SO) $B/venv/bin/python -m pytest -q -p no:cacheprovider Tests/Oracle
	PAWL_LIBRARY=$(CURDIR)/$B/pq/$(SO) PAWL_KEM=X-Wing $B/venv/bin/python -m pytest -q -p no:cacheprovider Tests/Kem

test-python: $B/venv/.made lib $B/kem/$(SO)
	cd Bindings/Python && PAWL_LIBRARY=$(CURDIR)/$B/$(SO) $(CURDIR)/$B/venv/bin/python -m pytest -q
	PAWL_LIBRARY=$(CURDIR)/$B/$(SO) $B/venv/bin/python -m pytest -q -p no:cacheprovider Tests/Oracle
	PAWL_LIBRARY=$(CURDIR)/$B/kem/$(SO) $B/venv/bin/python -m pytest -q -p no:cacheprovider Tests/Kem
	$B/venv/bin/python -m pytest -q -p no:cacheprovider Tests/Benchmarks
	cd Bindings/Python && $(CURDIR)/$B/venv/bin/python -m mypy

FUZZ = mkdir -p $$fuzzer.corpus && $$fuzzer -max_len=4096 -timeout=60 -artifact_prefix=$B/fuzz/ $$fuzzer.corpus

# The library with libFuzzer's counters and the address sanitizer, and the harness over it.
$B/fuzz/pawl.o: $B/pawl.o
	@mkdir -p $(@D)
	$(SWIFTC) -c $(EMBEDDED) -sanitize=fuzzer,address $(SOURCES) -o $@

FUZZERS = session backup store archive
FUZZ_HEADERS = Tests/C/fuzz/fuzz.h $(wildcard Tests/C/*.h) Include/pawl.h
FUZZ_BUILD = @mkdir -p $(@D) && $(CLANG) $(C_FLAGS) -D_GNU_SOURCE -fsanitize=fuzzer,address $(filter %.c %.o %.a,$^)

$B/fuzz/%_fuzz: Tests/C/fuzz/%_fuzz.c $B/fuzz/pawl.o $(FUZZ_HEADERS)
	$(FUZZ_BUILD) $(TABLES) $(LIBS) -o $@
$B/fuzz/%_smoke: Tests/C/fuzz/%_fuzz.c $B/libpawl.a $(FUZZ_HEADERS)
	$(FUZZ_BUILD) $(LIBS) -o $@

fuzz: $(FUZZERS:%=$B/fuzz/%_fuzz) ## hostile peers, servers, files and archives, by libFuzzer (FUZZ_SECONDS=300 each)
	set -e; for fuzzer in $^; do $(FUZZ) -max_total_time=$(FUZZ_SECONDS); done

test-fuzz: $(FUZZERS:%=$B/fuzz/%_smoke)
	@echo "fuzz: 5 seconds each of a hostile peer and network, server of backups, file of a store, and archive"
	@set -e; for fuzzer in $^; do \
	    ($(FUZZ) -max_total_time=5) >$$fuzzer.log 2>&1 || { cat $$fuzzer.log; exit 1; }; tail -n 1 $$fuzzer.log; done

test-library: lib
	@$(PYTHON) Tests/Scripts/library.py $B/$(SO) $B/libpawl.a Include/pawl.h

VALGRIND = valgrind --quiet --error-exitcode=1 --leak-check=full
test-valgrind: $B/examples/quickstart $B/examples/safety_number
	set -e; for program in $^; do $(VALGRIND) --show-leak-kinds=all --errors-for-leak-kinds=all $$program; done

# Those that need minutes at most. A forked child leaves behind what it may not touch, so those that count on children are
# not here, nor is the one that searches memory, in which valgrind keeps what was in registers; and where the compiler
# tests a sign beside bytes that nobody set, valgrind cannot tell.
LEAN := $(addprefix $B/tests/,credentials damage history outbox session_restore sessions vectors)
valgrind-long: $(LEAN) $B/tests/arguments
	set -e; for program in $(LEAN); do $(VALGRIND) --errors-for-leak-kinds=definite $$program; done
	$(VALGRIND) --errors-for-leak-kinds=definite --undef-value-errors=no $B/tests/arguments

test-install: lib
	@CC='$(CC)' CXX='$(CXX)' Tests/Scripts/install

test-example: toolchain
	$(SWIFT) build --package-path Bindings/Swift --scratch-path .build/example

test-wheel: wheel
	@Tests/Scripts/wheel test

test-readme: lib $B/venv/.made
	@$(PYTHON) Tests/Scripts/readme.py README.md

test-stranger: packages toolchain
	@$(PYTHON) Tests/Scripts/stranger.py Sources/Pawl/Pawl.docc/GettingStarted.md

$B/matrix/.made: Makefile
	$(PYTHON) -m venv --clear $B/matrix
	$B/matrix/bin/pip install --quiet pytest matrix-synapse
	@touch $@

test-matrix: lib $B/matrix/.made ## backups on Synapse, a Matrix homeserver: fetches it from PyPI to build/matrix
	PAWL_LIBRARY=$(CURDIR)/$B/$(SO) PYTHONPATH=Bindings/Python/src:Bindings/Python/tests \
	    $B/matrix/bin/python -m pytest -q -p no:cacheprovider Tests/Matrix

test-long: test $(C_TESTS) fuzz test-matrix valgrind-long ## the long run: 1,000 kills, long races, sanitizers, valgrind, rekeying explored and simulated
	@PAWL_LONG=1 Tests/Scripts/each $(C_TESTS)
	$(SWIFT) test --sanitize=thread --scratch-path .build/tsan
	ASAN_OPTIONS=detect_leaks=0 $(SWIFT) test --sanitize=address --scratch-path .build/asan # XCTest has leaks of its own
	PAWL_LONG=1 $(SWIFT) test -c release --scratch-path .build/swift
	@$(PYTHON) Tests/Scripts/planted.py

# ---------------------------------------------------------------- lint

lint: packages lib test-library ## formats, rooms, header alone, exported names
	@$(PYTHON) Tests/Scripts/rooms.py
	@Tests/Scripts/header Include/pawl.h
	$(SWIFT) format lint --strict -r -p $(SWIFT_FOLDERS)

clean: ## remove all that was built
	rm -rf $B .build .build-*
