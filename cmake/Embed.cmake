# Files that the build puts into programs, and pages that it puts together.
set(RSRC_EMBED_DIR ${CMAKE_CURRENT_LIST_DIR}/embed)
set(RSRC_DRAWING_DIR ${PROJECT_SOURCE_DIR}/compiler/report/page)

# rsrc_embed(TARGET STRUCT TABLE HEADER FILE...): the files become byte arrays of the target, in a table of
# `struct STRUCT` that the header declares: name, text, size_bytes; a row of zeros ends it.
function(rsrc_embed target struct table header)
  set(c ${CMAKE_CURRENT_BINARY_DIR}/${table}.c)
  add_custom_command(OUTPUT ${c}
    COMMAND ${CMAKE_COMMAND} -DOUT=${c} -DSTRUCT=${struct} -DTABLE=${table} -DHEADER=${header} "-DFILES=${ARGN}"
      -P ${RSRC_EMBED_DIR}/embed.cmake
    DEPENDS ${ARGN} ${RSRC_EMBED_DIR}/embed.cmake
    COMMENT "Embedding ${table}" VERBATIM)
  target_sources(${target} PRIVATE ${c})
endfunction()

# rsrc_page(OUT TEMPLATE STYLES... SCRIPTS...): a page in one file, or what is said of it; embed/page.cmake says how.
# Paths are absolute, or those of compiler/report/page.
function(rsrc_page out template)
  cmake_parse_arguments(PARSE_ARGV 2 parts "" "" "STYLES;SCRIPTS")
  foreach(kind STYLES SCRIPTS)
    list(TRANSFORM parts_${kind} PREPEND ${RSRC_DRAWING_DIR}/ REGEX "^[^/]")
  endforeach()
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DTEMPLATE=${template} -DCHART=${RSRC_DRAWING_DIR}/chart.css
      "-DSTYLES=${parts_STYLES}" "-DSCRIPTS=${parts_SCRIPTS}" -P ${RSRC_EMBED_DIR}/page.cmake
    DEPENDS ${template} ${RSRC_DRAWING_DIR}/chart.css ${parts_STYLES} ${parts_SCRIPTS} ${RSRC_EMBED_DIR}/page.cmake
    COMMENT "Putting ${template} together" VERBATIM)
endfunction()
