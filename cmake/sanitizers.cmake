# Sanitizers are for the whole build or not at all: half of a program under one of them reports what is not there.
if(VMRPC_SANITIZE)
  add_compile_options(-fsanitize=${VMRPC_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${VMRPC_SANITIZE})
endif()

# What each test finds in its environment. The first finding ends the program, with a signal, so that no exit status hides it.
set(VMRPC_SANITIZER_ENVIRONMENT
    ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1
    UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1
    TSAN_OPTIONS=abort_on_error=1:halt_on_error=1:second_deadlock_stack=1)
# The same for code on RPC stacks: its locals must lie there.
string(REPLACE detect_stack_use_after_return=1 detect_stack_use_after_return=0 VMRPC_SANITIZER_ENVIRONMENT_ON_STACKS
               "${VMRPC_SANITIZER_ENVIRONMENT}")
