# What is installed besides programs and libraries, and the Debian packages that `cpack` makes of
# the preset `package`:
#
#   rsrc          the programs, the runtime that they link into modules, target descriptions, documentation
#   librsr0       the shared library, named by its soname
#   librsr-dev    what applications need to build with it
#   librsrc-dev   the compiler as a library
#   rsrc-mpi      rsr-mpi, and what `rsr-serve --mpi` loads; where CMake finds MPI
#
# Each is a component of the same name, but for rsrc-mpi, which is the component `mpi`, and rsrc, which has the component `module` besides: the
# runtime alone, which a build for another machine installs beside this one's.
install(FILES LICENSE CHANGELOG.md README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT doc)
install(DIRECTORY examples/deploy examples/embed-c examples/embed-python examples/matrix-c examples/notebook
  examples/search-python examples/serve-loop
  examples/model
  DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples COMPONENT doc USE_SOURCE_PERMISSIONS
  PATTERN __pycache__ EXCLUDE)
if(NOT RSRC_DEB)
  return()
endif()
if(NOT RSRC_COMPILER OR NOT CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  message(FATAL_ERROR "RSRC_DEB makes packages of everything, installed to /usr: take the preset 'package'")
endif()

set(librsr librsr${PROJECT_VERSION_MAJOR})
set(revision 0rsrc1) # older than any of Debian's own, which begin with 1
set(version ${PROJECT_VERSION}-${revision})
set(CPACK_PACKAGE_CONTACT "The rsrc authors <rsrc@example.org>")
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC) # now, or SOURCE_DATE_EPOCH

# ---- /usr/share/doc/PACKAGE: none of it is part of a plain `cmake --install` -------------------------------------

find_program(RSRC_GZIP gzip REQUIRED)
set(doc ${CMAKE_BINARY_DIR}/debian)
configure_file(cmake/debian/changelog.in ${doc}/changelog.Debian @ONLY)
configure_file(CHANGELOG.md ${doc}/changelog COPYONLY)
execute_process(COMMAND ${RSRC_GZIP} -9nf changelog changelog.Debian WORKING_DIRECTORY ${doc}
  COMMAND_ERROR_IS_FATAL ANY)

function(add_package_docs component package)
  set(to ${CMAKE_INSTALL_DATADIR}/doc/${package})
  install(FILES cmake/debian/copyright ${doc}/changelog.gz ${doc}/changelog.Debian.gz
    DESTINATION ${to} COMPONENT ${component} EXCLUDE_FROM_ALL)
  foreach(example ${ARGN})
    install(DIRECTORY examples/${example} DESTINATION ${to}/examples COMPONENT ${component} EXCLUDE_FROM_ALL
      USE_SOURCE_PERMISSIONS PATTERN __pycache__ EXCLUDE)
  endforeach()
endfunction()
add_package_docs(rsrc rsrc matrix-c model)
add_package_docs(librsr ${librsr})
add_package_docs(librsr-dev librsr-dev embed-c embed-python search-python serve-loop)
add_package_docs(librsrc-dev librsrc-dev)
if(TARGET rsr-mpi)
  add_package_docs(mpi rsrc-mpi deploy)
endif()
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rsrc COMPONENT rsrc EXCLUDE_FROM_ALL)
foreach(library pcre2 utf8proc) # contained in librsr_module.a: the terms of the very version
  install(FILES /usr/share/doc/lib${library}-dev/copyright RENAME copyright.${library}
    DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/rsrc COMPONENT rsrc EXCLUDE_FROM_ALL)
endforeach()

# ---- packages ----------------------------------------------------------------------------------------------------

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # each package has its own
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
  WORLD_READ WORLD_EXECUTE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL rsrc module librsr librsr-dev librsrc-dev)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${revision})
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")

# describe(COMPONENT PACKAGE SECTION SYNOPSIS PARAGRAPH ...)
function(describe component package section synopsis)
  list(JOIN ARGN "\n.\n" text)
  string(TOUPPER ${component} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${package} PARENT_SCOPE)
  set(CPACK_DEBIAN_${upper}_PACKAGE_SECTION ${section} PARENT_SCOPE)
  set(CPACK_DEBIAN_${upper}_DESCRIPTION "${synopsis}\n${text}" PARENT_SCOPE)
endfunction()

describe(rsrc rsrc devel "compiler for ternary and binary neural networks"
  "Compiles a ternary or binary neural network, such as a BitNet language model,
into one shared library that holds the weights, code specialised to them, the
tokenizer and a small runtime."
  "The package has the compiler, rsr-run, which runs what it made, rsr-serve,
which serves it over HTTP, also as a service, rsr-bench, which measures it,
and rsr-mkmodel, which writes synthetic models.")
# The program that rsrc runs: LLVM's linker. The libraries, LLVM's among them, are found by dpkg-shlibdeps.
# A C compiler is for --backend=c alone.
set(CPACK_DEBIAN_RSRC_PACKAGE_DEPENDS "lld-19")
set(CPACK_DEBIAN_RSRC_PACKAGE_SUGGESTS "clang-19, gcc")

describe(librsr ${librsr} libs "runs models that rsrc compiled - shared library"
  "Opens and evaluates the libraries that the compiler rsrc makes of ternary and
binary neural networks."
  "The package has the shared library.")
# CPack 3.25 would write maintainer scripts that call ldconfig, where Debian has a trigger. It
# writes none of those that are named here; these two do not exist, of which it warns.
set(CPACK_DEBIAN_LIBRSR_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_SOURCE_DIR}/cmake/debian/triggers
  ${doc}/none/postinst ${doc}/none/postrm)

describe(librsr-dev librsr-dev libdevel "runs models that rsrc compiled - development files"
  "Opens and evaluates the libraries that the compiler rsrc makes of ternary and
binary neural networks."
  "The package has the headers rsr.h, rsr_constraint.h and rsr_louver.h, the
static library, and examples.")
set(CPACK_DEBIAN_LIBRSR-DEV_PACKAGE_DEPENDS "${librsr} (= ${version})")

describe(librsrc-dev librsrc-dev libdevel "compiler for neural networks - development files"
  "The compiler rsrc as a library, which other programs call to compile ternary
and binary neural networks."
  "The package has the header rsrc.h and the static library.")
set(CPACK_DEBIAN_LIBRSRC-DEV_PACKAGE_DEPENDS
  "rsrc (= ${version}), libjansson-dev, libpcre2-dev, libutf8proc-dev, libyaml-dev, llvm-19-dev")

if(TARGET rsr-mpi)
  list(APPEND CPACK_COMPONENTS_ALL mpi)
  describe(mpi rsrc-mpi devel "runs models that rsrc compiled with several processes of MPI"
    "Evaluates one model with several processes, of one machine or several, which
share out its rows and attention heads, with the bits of one process."
    "The package has rsr-mpi, and the library with which rsr-serve --mpi serves.")
  # The mpirun of the MPI that the programs are linked with; its library is found by dpkg-shlibdeps.
  set(mpirun openmpi-bin)
  if(MPI_C_LIBRARIES MATCHES mpich)
    set(mpirun mpich)
  endif()
  set(CPACK_DEBIAN_MPI_PACKAGE_DEPENDS "rsrc (= ${version}), ${mpirun}")
endif()

include(CPack)
cpack_add_component(rsrc GROUP rsrc)
cpack_add_component(module GROUP rsrc)
