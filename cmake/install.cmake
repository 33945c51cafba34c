# What `cmake --install` leaves: headers, both libraries, a CMake package, a pkg-config file, and what a guest's system takes to let members
# of group vmrpc connect.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/vmrpc)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/vmrpc DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h PATTERN *.hpp)
install(TARGETS vmrpc_shared EXPORT vmrpcTargets)
install(TARGETS vmrpc_static EXPORT vmrpcStaticTargets)
install(EXPORT vmrpcTargets NAMESPACE vmrpc:: DESTINATION ${package_dir})
install(EXPORT vmrpcStaticTargets NAMESPACE vmrpc:: DESTINATION ${package_dir})

configure_package_config_file(cmake/vmrpcConfig.cmake.in ${PROJECT_BINARY_DIR}/vmrpcConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vmrpcConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/vmrpcConfig.cmake ${PROJECT_BINARY_DIR}/vmrpcConfigVersion.cmake DESTINATION ${package_dir})

# The prefix is where the file lies, so that an installed folder can be moved.
file(RELATIVE_PATH VMRPC_PC_UP /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/vmrpc.pc.in ${PROJECT_BINARY_DIR}/vmrpc.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/vmrpc.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# Below the prefix: /usr and /usr/local are where udev and systemd look.
set(VMRPC_UDEV_RULES_DIR lib/udev/rules.d CACHE STRING "Where udev's rules for guests are installed")
set(VMRPC_MODULES_LOAD_DIR lib/modules-load.d CACHE STRING "Where the list of a guest's kernel modules is installed")
set(VMRPC_SYSUSERS_DIR lib/sysusers.d CACHE STRING "Where the group for guests is installed")
install(FILES dist/60-vmrpc.rules DESTINATION ${VMRPC_UDEV_RULES_DIR})
install(FILES dist/modules-load.conf DESTINATION ${VMRPC_MODULES_LOAD_DIR} RENAME vmrpc.conf)
install(FILES dist/sysusers.conf DESTINATION ${VMRPC_SYSUSERS_DIR} RENAME vmrpc.conf)
