// The socket file of a local: server.
#pragma once

#include "transport/socket_file.hpp"
