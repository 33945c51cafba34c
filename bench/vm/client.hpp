// In the guest: measures what it is told to, until nobody tells it any more.
#pragma once

#include "vm/places.hpp"

namespace vmrpc::bench {

/// Takes orders from the port, and answers them. Throws std::runtime_error.
void take_orders(const PlacesWords& words);

}  // namespace vmrpc::bench
