# make install PREFIX=/usr/local [DESTDIR=] - what a user of the job queue needs, and nothing of the tests:
#
#   bin/ckshim-NAME                 the tools
#   lib/ckshim/libckshim.so         the library for LD_PRELOAD; finds ckshim-run by ../../bin
#   libexec/ckshim/ckshim-drv       the helper that calls the driver; the tools find it by ../libexec/ckshim
#   libexec/ckshim/criu/            the CRIU bundle, see scripts/criu-bundle
#   share/man/man1/                 the man pages
#
# Nothing holds an absolute path: the tree may be moved as a whole. CRIU_BUNDLE=no leaves the bundle out,
# for machines that bring a criu of their own, 4.1 or newer.
#
# make uninstall takes the same files away. make bench measures (scripts/bench).
CRIU_BUNDLE ?= yes
INSTALL ?= install

# An installed file is replaced by a new one, never written over: running jobs have the old one mapped.
IN_BIN := $(DESTDIR)$(PREFIX)/bin
IN_LIB := $(DESTDIR)$(PREFIX)/lib/ckshim
IN_EXEC := $(DESTDIR)$(PREFIX)/libexec/ckshim
IN_MAN := $(DESTDIR)$(PREFIX)/share/man/man1

INSTALLED_TOOLS := $(filter-out $(BUILD)/ckshim-drv,$(TOOLS))
INSTALLED_MAN := $(INSTALLED_TOOLS:$(BUILD)/%=tools/%.1)

.PHONY: install install-built uninstall
install: $(BUILD)/libckshim.so $(TOOLS) $(if $(filter-out no,$(CRIU_BUNDLE)),criu)
	@$(MAKE) --no-print-directory install-built

# Builds nothing: for tests, and for root who installs what a user built.
install-built:
	$(INSTALL) -d "$(IN_BIN)" "$(IN_LIB)" "$(IN_EXEC)" "$(IN_MAN)"
	$(INSTALL) -m 755 $(INSTALLED_TOOLS) "$(IN_BIN)"
	$(INSTALL) -m 755 $(BUILD)/libckshim.so "$(IN_LIB)"
	$(INSTALL) -m 755 $(BUILD)/ckshim-drv "$(IN_EXEC)"
	$(INSTALL) -m 644 $(INSTALLED_MAN) "$(IN_MAN)"
ifneq ($(CRIU_BUNDLE),no)
	rm -rf "$(IN_EXEC)/criu.new"
	cp -R $(BUILD)/criu "$(IN_EXEC)/criu.new"
	rm -f "$(IN_EXEC)/criu.new/.stamp"
	chmod -R u+w,a+rX "$(IN_EXEC)/criu.new"
	rm -rf "$(IN_EXEC)/criu"
	mv "$(IN_EXEC)/criu.new" "$(IN_EXEC)/criu"
endif

uninstall:
	rm -f $(foreach t,$(notdir $(INSTALLED_TOOLS)),"$(IN_BIN)/$(t)" "$(IN_MAN)/$(t).1")
	rm -f "$(IN_LIB)/libckshim.so" "$(IN_EXEC)/ckshim-drv"
	rm -rf "$(IN_EXEC)/criu" "$(IN_EXEC)/criu.new"
	for d in "$(IN_LIB)" "$(IN_EXEC)"; do [ ! -d "$$d" ] || rmdir "$$d"; done

.PHONY: bench
bench: all criu bench-progs
	@scripts/bench $(BUILD)
