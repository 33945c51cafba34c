// local: under the suite that every transport runs, both ends in this process.
#include "local_harness.hpp"
#include "transport_life_suite.hpp"
#include "transport_suite.hpp"

namespace vmrpc::transport::conformance {

INSTANTIATE_TYPED_TEST_SUITE_P(Local, TransportSuite, LocalHarness);
INSTANTIATE_TYPED_TEST_SUITE_P(Local, TransportLifeSuite, LocalHarness);

}  // namespace vmrpc::transport::conformance
