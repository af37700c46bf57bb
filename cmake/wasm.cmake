# wasm.cmake: a toolchain file for WebAssembly with SIMD, of Debian's emscripten (programs run under node). The library's
# portable kernels are 128 bits wide, which is what WebAssembly has.
find_program(VITRINE_EMCC emcc REQUIRED)
if(NOT EMSCRIPTEN_ROOT_PATH)
  execute_process(COMMAND em-config EMSCRIPTEN_ROOT OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT EXISTS "${root}/cmake/Modules/Platform/Emscripten.cmake")
    set(root /usr/share/emscripten)
  endif()
  set(EMSCRIPTEN_ROOT_PATH "${root}")
endif()
include("${EMSCRIPTEN_ROOT_PATH}/cmake/Modules/Platform/Emscripten.cmake")

# Exceptions are WebAssembly's own, not those that Emscripten makes of calls to JavaScript.
add_compile_options(-msimd128 -fwasm-exceptions)
add_link_options(-fwasm-exceptions)
# Debian's standard library is older than C++20.
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-include;${CMAKE_CURRENT_LIST_DIR}/wasm/older_library.h>")

# The linker's helper is a script for node that looks for Debian's modules, which a node from elsewhere does not know of.
if(EXISTS /usr/share/nodejs)
  set(CMAKE_CXX_LINKER_LAUNCHER ${CMAKE_COMMAND} -E env NODE_PATH=/usr/share/nodejs)
endif()

# nlohmann-json, which builds with runs or dialects need, is headers alone, but they lie in /usr/include among this machine's
# own, which must not be seen: a place for them with nothing else in it.
find_path(VITRINE_HOST_JSON nlohmann/json.hpp PATHS /usr/include /usr/local/include NO_CMAKE_FIND_ROOT_PATH)
if(VITRINE_HOST_JSON)
  cmake_path(GET VITRINE_HOST_JSON PARENT_PATH host)
  set(json "${CMAKE_BINARY_DIR}/json")
  file(MAKE_DIRECTORY "${json}/include")
  file(CREATE_LINK "${VITRINE_HOST_JSON}/nlohmann" "${json}/include/nlohmann" SYMBOLIC)
  file(COPY "${host}/share/cmake/nlohmann_json" DESTINATION "${json}/share/cmake")
  set(nlohmann_json_DIR "${json}/share/cmake/nlohmann_json")
endif()
