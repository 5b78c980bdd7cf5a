# ckshim - see README.md. `make demo` runs the main job, `make check` passes the tests; both install
# what is missing first (scripts/setup). `make` alone only builds.
#
# Each folder brings its own rules.mk; a .c file dropped in the right folder is built.

VERSION := 0.1.0
BUILD ?= build
CC ?= gcc
CFLAGS ?= -O2 -g
WERROR ?=
PREFIX ?= /usr/local
DESTDIR ?=

CK_CFLAGS := -std=gnu11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter \
	-fno-strict-aliasing $(WERROR) -DCK_VERSION='"$(VERSION)"' -MMD -MP
BASE_SRC := $(wildcard shim/base/*.c)
BASE_OBJ := $(BASE_SRC:%.c=$(BUILD)/obj/%.o)

ifeq ($(V),)
Q_CC = @echo "  CC   $<";
Q_LD = @echo "  LINK $@";
endif

.PHONY: all
all:

include shim/rules.mk tools/rules.mk
include $(wildcard tests/*/rules.mk scripts/rules.mk)
include install.mk

# Everything is compiled position-independent, so that one object serves library, tool and test.
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(Q_CC)$(CC) $(CFLAGS) $(CK_CFLAGS) $(EXTRA_CFLAGS) -fPIC -c $< -o $@

$(BUILD)/libckbase.a: $(BASE_OBJ)
	@rm -f $@
	$(Q_LD)$(AR) rcs $@ $^

# --- the two commands ------------------------------------------------------------------------------------
# Set-up comes first and may install packages, so the build runs in a make of its own afterwards.
.PHONY: demo check check-built demo-built
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
demo check:
	@scripts/setup $@
	@$(MAKE) --no-print-directory -j$(JOBS) $@-built

demo-built: all criu
	@scripts/demo $(BUILD)

check-built: all criu $(UNITS) $(FUZZ_NAMES:%=$(BUILD)/fuzz/%)
	@scripts/check $(BUILD)

.PHONY: clean
clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
