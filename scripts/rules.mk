# Set-up. `make setup` installs Debian packages; the criu bundle lies in the build folder, where the tools
# look for it, and needs the network once.
.PHONY: setup criu
setup:
	@scripts/setup

criu: $(BUILD)/criu/.stamp

$(BUILD)/criu/.stamp: scripts/criu-bundle
	@mkdir -p $(BUILD)
	@scripts/criu-bundle $(BUILD)/criu
	@touch $@
