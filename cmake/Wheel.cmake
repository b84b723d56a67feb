# The wheel `rsrc`, which scikit-build-core makes of the component `wheel` (see pyproject.toml). The folder of the
# package has bin, lib and share as an installation has: programs find the runtime and the descriptions as ever.
set(packages ${SKBUILD_PLATLIB_DIR})
set(package ${packages}/rsrc)
set(data ${SKBUILD_DATA_DIR})
if(NOT SKBUILD)
  message(FATAL_ERROR "RSRC_WHEEL makes a wheel: run 'pip wheel .'")
endif()

add_custom_target(wheel DEPENDS rsrc rsr-run rsr-serve ld.lld rsr_shared rsr_module rsr_python)
install(DIRECTORY ${CMAKE_BINARY_DIR}/share/rsrc/python/ DESTINATION ${packages} COMPONENT wheel
  PATTERN __pycache__ EXCLUDE)
install(FILES runtime/python/rsrc_programs.py DESTINATION ${packages} COMPONENT wheel)
install(TARGETS rsrc rsr-run rsr-serve DESTINATION ${package}/bin COMPONENT wheel)
install(TARGETS ld.lld DESTINATION ${package}/lib/rsrc COMPONENT wheel)
# A wheel has no links: the one name that programs load.
install(PROGRAMS $<TARGET_FILE:rsr_shared> DESTINATION ${package}/lib RENAME $<TARGET_SONAME_FILE_NAME:rsr_shared>
  COMPONENT wheel)
get_directory_property(module_dir DIRECTORY runtime DEFINITION RSR_MODULE_DIR)
install(FILES ${module_dir}/librsr_module.a ${module_dir}/link.args DESTINATION ${package}/lib/rsrc/${RSRC_TRIPLE}
  COMPONENT wheel)
install(DIRECTORY specs/ DESTINATION ${package}/share/rsrc/specs COMPONENT wheel FILES_MATCHING PATTERN *.yaml)
install(DIRECTORY runtime/include/ DESTINATION ${package}/include COMPONENT wheel
  FILES_MATCHING PATTERN rsr.h PATTERN rsr_constraint.h PATTERN rsr_louver.h)
# Terms of what the programs contain, or bring as a library beside them: of the very versions, where Debian has them.
foreach(library libffi8 liblld-19-dev libgmp10 libgnutls30 libidn2-0 libjansson-dev libmicrohttpd12 libnettle8
    libp11-kit0 libpcre2-dev libtasn1-6 libunistring2 libutf8proc-dev libyaml-dev libzstd-dev llvm-19-dev zlib1g-dev)
  install(FILES ${RSRC_SYSROOT}/usr/share/doc/${library}/copyright RENAME ${library}
    DESTINATION ${package}/share/licenses COMPONENT wheel OPTIONAL)
endforeach()
foreach(program rsrc rsr-run rsr-serve)
  if(TARGET ${program}-docs) # a program of another machine cannot be asked
    add_dependencies(wheel ${program}-docs)
  endif()
  install(FILES ${CMAKE_BINARY_DIR}/share/man/man1/${program}.1.gz DESTINATION ${data}/share/man/man1
    COMPONENT wheel OPTIONAL)
endforeach()
