// What a side wishes to be done with a heap's memory before it is used.
#pragma once

namespace vmrpc::transport {

struct Preparation {
    bool prefault = false;  // present in this process before it is touched
    bool lock = false;      // never swapped
};

}  // namespace vmrpc::transport
