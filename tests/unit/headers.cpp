// Nothing: a target needs a source for its headers to be compiled with. See tests/CMakeLists.txt.
