# Writes OUT: TEMPLATE with the text of STYLES, CHART (the style that drawings take along) and SCRIPTS in place of
# @page_css@, @chart_css@ and @script@, each script using what stands before it; and in place of @style_hashes@ and
# @script_hash@ their SHA-256 for a Content-Security-Policy, so that a browser runs these and nothing else.

# 24 bits are four digits: the value of `hex` as base 64.
function(base64 hex result)
  set(digits "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  set(text "")
  string(APPEND hex "00") # 32 bytes, and one to fill 11 groups of three
  foreach(at RANGE 0 65 6)
    string(SUBSTRING ${hex} ${at} 6 group)
    foreach(shift 18 12 6 0)
      math(EXPR digit "(0x${group} >> ${shift}) & 63")
      string(SUBSTRING ${digits} ${digit} 1 digit)
      string(APPEND text ${digit})
    endforeach()
  endforeach()
  string(SUBSTRING ${text} 0 43 text)
  set(${result} "${text}=" PARENT_SCOPE)
endfunction()

function(hash_of text result)
  string(SHA256 hex "${text}")
  base64(${hex} digits)
  set(${result} "'sha256-${digits}'" PARENT_SCOPE)
endfunction()

function(read_all files result)
  set(all "")
  foreach(file ${files})
    file(READ ${file} text)
    string(APPEND all "${text}")
  endforeach()
  set(${result} "${all}" PARENT_SCOPE)
endfunction()

read_all(${TEMPLATE} page)
read_all("${STYLES}" page_css)
read_all(${CHART} chart_css)
read_all("${SCRIPTS}" script)
hash_of("${page_css}" page_hash)
hash_of("${chart_css}" chart_hash)
hash_of("${script}" script_hash)
set(style_hashes "${page_hash} ${chart_hash}")
foreach(name style_hashes script_hash page_css chart_css script)
  string(REPLACE "@${name}@" "${${name}}" page "${page}")
endforeach()
file(WRITE ${OUT} "${page}")
