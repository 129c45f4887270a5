//! Builds the SD-card image: Debian's kernel, the Pi's firmware and one initramfs that is the whole system.
