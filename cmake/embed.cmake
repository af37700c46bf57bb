# embed.cmake: the C interface (embed/vitrine.h) as libvitrine_c.a and libvitrine_c.so. The latter needs nothing but itself
# and the libraries that it is linked with; no name of it is visible but those of vitrine.h.
file(GLOB embed_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/embed/*.cpp)
# Of which each form has its own, and what stands in for a part.
list(FILTER embed_sources EXCLUDE REGEX "/arena_(new|shared)\\.cpp$")
if(VITRINE_TRAINING)
  list(FILTER embed_sources EXCLUDE REGEX "/no_tunings\\.cpp$")
else()
  list(FILTER embed_sources EXCLUDE REGEX "/tunings\\.cpp$")
endif()
add_library(vitrine_c_objects OBJECT ${embed_sources})
target_compile_definitions(vitrine_c_objects PRIVATE VITRINE_VERSION="${PROJECT_VERSION}")
set_target_properties(vitrine_c_objects PROPERTIES POSITION_INDEPENDENT_CODE ${VITRINE_HAS_SHARED} CXX_VISIBILITY_PRESET hidden
                      VISIBILITY_INLINES_HIDDEN ON)
target_link_libraries(vitrine_c_objects PUBLIC vitrine vitrine_builtin)
target_compile_options(vitrine_c_objects PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
if(VITRINE_WERROR)
  target_compile_options(vitrine_c_objects PRIVATE -Werror)
endif()

add_library(vitrine_c STATIC $<TARGET_OBJECTS:vitrine_c_objects> ${CMAKE_CURRENT_SOURCE_DIR}/embed/arena_new.cpp)
add_library(Vitrine::vitrine_c ALIAS vitrine_c)
target_link_libraries(vitrine_c PUBLIC vitrine vitrine_builtin)
target_include_directories(vitrine_c INTERFACE $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/embed>
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

if(VITRINE_HAS_SHARED AND VITRINE_EXCEPTIONS)
  add_library(vitrine_c_shared SHARED $<TARGET_OBJECTS:vitrine_c_objects> ${CMAKE_CURRENT_SOURCE_DIR}/embed/arena_shared.cpp)
  set_target_properties(vitrine_c_shared PROPERTIES OUTPUT_NAME vitrine_c SOVERSION 1 VERSION ${PROJECT_VERSION})
  target_link_libraries(vitrine_c_shared PRIVATE vitrine vitrine_builtin)
  target_link_options(vitrine_c_shared PRIVATE -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/embed/vitrine.map
                      -Wl,--no-undefined -Wl,--gc-sections)
  set_property(TARGET vitrine_c_shared APPEND PROPERTY LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/embed/vitrine.map)
endif()

# A command line for machines with little room (docs/sizes.md), if it is asked for.
find_path(VITRINE_STB stb/stb_image.h NO_CMAKE_FIND_ROOT_PATH)  # headers alone, the same for every machine
if(VITRINE_STB)
  add_executable(vitrine_small EXCLUDE_FROM_ALL ${CMAKE_CURRENT_SOURCE_DIR}/examples/embed/small.c)
  target_include_directories(vitrine_small SYSTEM PRIVATE ${VITRINE_STB})
  target_compile_definitions(vitrine_small PRIVATE _DEFAULT_SOURCE)
  target_compile_options(vitrine_small PRIVATE -Wall -Wextra -Wpedantic -Wno-missing-field-initializers)
  target_link_libraries(vitrine_small PRIVATE vitrine_c)
  set_target_properties(vitrine_small PROPERTIES C_STANDARD 99 LINKER_LANGUAGE CXX)
  if(VITRINE_STATIC)
    target_link_options(vitrine_small PRIVATE -static)
  endif()
endif()
