# The g++ that the project is tested with where there is one, else the machine's own.
find_program(CMAKE_C_COMPILER NAMES gcc-12 gcc REQUIRED)
find_program(CMAKE_CXX_COMPILER NAMES g++-12 g++ REQUIRED)
