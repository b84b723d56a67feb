# Cross-compiles for AArch64 with Debian's gcc-aarch64-linux-gnu; programs run under qemu-user.
#
# The runtime's libraries (PCRE2, utf8proc, Jansson) come from RSRC_SYSROOT, an unpacked tree of
# arm64 packages that examples/setup.sh makes, or else from the arm64 packages that are installed.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES RSRC_SYSROOT) # they read this file, too

set(CMAKE_FIND_ROOT_PATH ${RSRC_SYSROOT} /usr/aarch64-linux-gnu /)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${RSRC_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${RSRC_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig)
