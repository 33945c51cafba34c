// What ends the command.
#pragma once

#include <stdexcept>

namespace tool {

/// Ends the command; the text is for the user.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace tool
