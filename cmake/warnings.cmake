# What our own code is compiled with; never part of what a user of the library inherits.
# Clang counts sign conversions as conversions, so g++ is told to as well: what passes one passes the other.
add_library(vmrpc_warnings INTERFACE)
target_compile_options(vmrpc_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror)
