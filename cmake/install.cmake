# install.cmake: what `cmake --install` puts where, so that another project can say find_package(Vitrine) and link
# Vitrine::vitrine (and Vitrine::vitrine_builtin for the backbone inside). The program is installed by examples/.
include(CMakePackageConfigHelpers)

install(TARGETS vitrine vitrine_builtin vitrine_c EXPORT VitrineTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
if(TARGET vitrine_c_shared)
  install(TARGETS vitrine_c_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
endif()
install(FILES embed/vitrine.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
foreach(folder engine engine/containers nn models models/checkpoints models/training data)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.h)
  list(FILTER headers EXCLUDE REGEX "/(formats|json_events|formula_paint|image_files|lines|mini_paint|torch_tensors|config_json|shallow_json|hub_fields|device_step|message|gradient_sum|html|pass_over|report_charts|report_style)\\.h$")  # inner matters
  install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/vitrine/${folder} COMPONENT development)
endforeach()
if(TARGET vitrine_mpi)  # a component of its own: who does not ask for it needs no MPI
  install(TARGETS vitrine_mpi EXPORT VitrineMpiTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
  install(FILES models/training/mpi/mpi_processes.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/vitrine/models/training/mpi COMPONENT development)
endif()
# With the names that README and docs give each other.
set(documents ${CMAKE_INSTALL_DATAROOTDIR}/doc/vitrine)
install(FILES LICENSE README.md DESTINATION ${documents} COMPONENT program)
install(DIRECTORY docs DESTINATION ${documents} COMPONENT program FILES_MATCHING PATTERN "*.md")
install(DIRECTORY bench/results DESTINATION ${documents}/bench COMPONENT program FILES_MATCHING PATTERN "*.md")

set(where ${CMAKE_INSTALL_LIBDIR}/cmake/Vitrine)
configure_package_config_file(cmake/VitrineConfig.cmake.in VitrineConfig.cmake INSTALL_DESTINATION ${where})
write_basic_package_version_file(VitrineConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/VitrineConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/VitrineConfigVersion.cmake
        DESTINATION ${where} COMPONENT development)
install(EXPORT VitrineTargets NAMESPACE Vitrine:: DESTINATION ${where} COMPONENT development)
if(TARGET vitrine_mpi)
  install(EXPORT VitrineMpiTargets NAMESPACE Vitrine:: DESTINATION ${where} COMPONENT development)
endif()
include(cmake/package.cmake)
