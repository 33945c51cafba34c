# What our own code is compiled with; never part of what a user of the library inherits.
add_library(vmrpc_warnings INTERFACE)
target_compile_options(vmrpc_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
