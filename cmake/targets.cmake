# The ways to add a program; each folder's CMakeLists.txt uses one of them.

# Code of tests need not be fast, and there is much of it to compile. A sanitizer names the lines of what it finds.
set(VMRPC_TEST_OPTIONS -O0)
if(NOT VMRPC_SANITIZE)
  list(APPEND VMRPC_TEST_OPTIONS -g0)
endif()

# vmrpc_program(NAME SOURCES file… [LIBRARIES target…]): a program that uses the library as any user would.
function(vmrpc_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
  if(VMRPC_SANITIZE) # a program in C too: the sanitizers' runtime for C++ is what the library needs
    set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX)
  endif()
  target_link_libraries(${name} PRIVATE vmrpc::vmrpc vmrpc_warnings ${arg_LIBRARIES})
endfunction()

# vmrpc_internal_program(NAME SOURCES file… [LIBRARIES target…]): a program that may also include what is private to src/.
function(vmrpc_internal_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PRIVATE vmrpc::static vmrpc_warnings fmt::fmt ${arg_LIBRARIES})
endfunction()

# vmrpc_benchmark(NAME [SHARED] SOURCES file… [LIBRARIES target…]): the program vmrpc-bench-NAME, run by `./run bench NAME`. SHARED: the
# library is linked as a shared one, since what it is compared with is.
function(vmrpc_benchmark name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "SHARED" "" "SOURCES;LIBRARIES")
  set(libraries CLI11::CLI11 nlohmann_json::nlohmann_json ${arg_LIBRARIES})
  foreach(file IN ITEMS main.cpp results.cpp)
    set_source_files_properties(${name}/${file} PROPERTIES COMPILE_OPTIONS -O0)
  endforeach()
  if(arg_SHARED)
    vmrpc_program(vmrpc-bench-${name} SOURCES ${arg_SOURCES} LIBRARIES ${libraries})
    target_include_directories(vmrpc-bench-${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  else()
    vmrpc_internal_program(vmrpc-bench-${name} SOURCES ${arg_SOURCES} LIBRARIES ${libraries})
  endif()
endfunction()

# vmrpc_add_ctest(NAME LABELS label… [TIMEOUT seconds] [SERIAL] [PARALLEL] [ON_STACKS] COMMAND word…): one ctest entry with the project's
# habits. Tests of whole processes run alone, unless they are PARALLEL: they watch the clock and the machine. ON_STACKS: code runs on RPC stacks.
function(vmrpc_add_ctest name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL;PARALLEL;ON_STACKS" "TIMEOUT" "LABELS;COMMAND")
  if(NOT arg_LABELS)
    message(FATAL_ERROR "test ${name} has no LABELS")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  if("process" IN_LIST arg_LABELS AND NOT arg_PARALLEL)
    set(arg_SERIAL ON)
  endif()
  set(environment ${VMRPC_SANITIZER_ENVIRONMENT})
  if(arg_ON_STACKS)
    set(environment ${VMRPC_SANITIZER_ENVIRONMENT_ON_STACKS})
  endif()
  add_test(NAME ${name} COMMAND ${arg_COMMAND})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} RUN_SERIAL ${arg_SERIAL}
                       ENVIRONMENT "${environment};VMRPC_SENTINEL=${PROJECT_BINARY_DIR}/src/vmrpc-sentinel;VMRPC_DOORBELL=${PROJECT_BINARY_DIR}/src/vmrpc-doorbell")
endfunction()

# vmrpc_test(NAME SOURCES file… LABELS label… [LIBRARIES target…] [TIMEOUT seconds] [SERIAL] [ON_STACKS] [OPTIMIZED]): a GoogleTest program,
# which is one entry of ctest. The target tests-LABEL builds all programs with that label. Up to four sources are one translation unit.
# OPTIMIZED: the test's own code would take longer to run than it takes to compile well.
# Labels: unit, protocol (also under tsan), process, golden and link (also with clang), install, vm, model.
function(vmrpc_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL;ON_STACKS;OPTIMIZED" "TIMEOUT" "SOURCES;LABELS;LIBRARIES")
  vmrpc_internal_program(${name} SOURCES ${arg_SOURCES} LIBRARIES GTest::gmock_main ${arg_LIBRARIES})
  if(NOT arg_OPTIMIZED)
    target_compile_options(${name} PRIVATE ${VMRPC_TEST_OPTIONS})
    target_precompile_headers(${name} REUSE_FROM vmrpc_test_headers)
  endif()
  set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 4)
  set(c_sources ${arg_SOURCES})
  list(FILTER c_sources INCLUDE REGEX "\\.c$")
  set_source_files_properties(${c_sources} PROPERTIES SKIP_PRECOMPILE_HEADERS ON SKIP_UNITY_BUILD_INCLUSION ON)
  set(options)
  foreach(option IN ITEMS SERIAL ON_STACKS)
    if(arg_${option})
      list(APPEND options ${option})
    endif()
  endforeach()
  if(arg_TIMEOUT)
    list(APPEND options TIMEOUT ${arg_TIMEOUT})
  endif()
  vmrpc_add_ctest(${name} LABELS ${arg_LABELS} ${options} COMMAND ${name})
  foreach(label IN LISTS arg_LABELS)
    if(NOT TARGET tests-${label})
      add_custom_target(tests-${label})
    endif()
    add_dependencies(tests-${label} ${name})
  endforeach()
endfunction()
