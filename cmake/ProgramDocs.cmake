# rsrc_add_docs(PROGRAM SUMMARY [COMPONENT]): the manual page and the shell completions of a program, made of what its
# own --help prints, in <build>/share as they are installed, by default of the component rsrc. A program of another machine cannot be asked; a
# sanitised one is not installed.
if(CMAKE_CROSSCOMPILING OR RSRC_SANITIZE)
  function(rsrc_add_docs program summary)
  endfunction()
  return()
endif()

find_package(Python3 REQUIRED COMPONENTS Interpreter)
# Where Debian's zsh looks; others, and Debian's below /usr/local, have site-functions.
set(RSRC_ZSH_DIR zsh/site-functions)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
  set(RSRC_ZSH_DIR zsh/vendor-completions)
endif()

function(rsrc_add_docs program summary)
  set(component rsrc ${ARGN})
  list(GET component -1 component)
  set(share ${CMAKE_BINARY_DIR}/share)
  set(script ${PROJECT_SOURCE_DIR}/cmake/program_docs.py)
  set(others rsrc rsr-run rsr-serve rsr-bench rsr-mkmodel)
  list(REMOVE_ITEM others ${program})
  set(man ${share}/man/man1/${program}.1.gz)
  set(bash ${share}/bash-completion/completions/${program})
  set(zsh ${share}/zsh/site-functions/_${program})
  set(fish ${share}/fish/vendor_completions.d/${program}.fish)
  add_custom_command(OUTPUT ${man} ${bash} ${zsh} ${fish}
    COMMAND ${Python3_EXECUTABLE} ${script} $<TARGET_FILE:${program}> ${PROJECT_VERSION} ${summary} ${share} ${others}
    DEPENDS ${program} ${script}
    COMMENT "Manual page and completions of ${program}" VERBATIM)
  add_custom_target(${program}-docs ALL DEPENDS ${man})
  install(FILES ${man} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT ${component})
  install(FILES ${bash} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT ${component})
  install(FILES ${zsh} DESTINATION ${CMAKE_INSTALL_DATADIR}/${RSRC_ZSH_DIR} COMPONENT ${component})
  install(FILES ${fish} DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d COMPONENT ${component})
endfunction()
