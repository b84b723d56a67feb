# rsrc_link_llvm(TARGET SCOPE COMPONENT ...): links LLVM's archives into a target, without those of LLVM's machines
# and passes that nothing uses. A build for another machine takes archives and headers from RSRC_SYSROOT, and their list
# from this machine's LLVM, where LLVM_DIR has its files for CMake.
if(RSRC_SYSROOT)
  set(LLVM_INCLUDE_DIRS ${RSRC_SYSROOT}/usr/lib/llvm-${LLVM_VERSION_MAJOR}/include)
endif()
find_program(RSRC_LLVM_CONFIG NAMES llvm-config-${LLVM_VERSION_MAJOR} llvm-config REQUIRED
  HINTS ${LLVM_TOOLS_BINARY_DIR})
find_library(RSRC_Z_STATIC NAMES libz.a REQUIRED)
find_library(RSRC_ZSTD_STATIC NAMES libzstd.a REQUIRED)

function(rsrc_link_llvm target scope)
  execute_process(COMMAND ${RSRC_LLVM_CONFIG} --link-static --libs ${ARGN} OUTPUT_VARIABLE libraries
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(libraries)
  list(FILTER libraries EXCLUDE REGEX "Polly") # part of link-time optimisation, with a package of its own
  target_link_directories(${target} ${scope}
    $<BUILD_INTERFACE:${RSRC_SYSROOT}/usr/lib/llvm-${LLVM_VERSION_MAJOR}/lib>)
  target_link_libraries(${target} ${scope} ${libraries} ${RSRC_Z_STATIC} ${RSRC_ZSTD_STATIC} stdc++ m)
  target_link_options(${target} ${scope} LINKER:--gc-sections LINKER:--as-needed)
endfunction()
