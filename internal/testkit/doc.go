// Package testkit gives tests real Postgres and Redis servers, the built program, other tools and
// free ports. Only tests may import it; it knows no other package of Gatehouse.
//
// A test that needs something that is not installed is skipped, and says what is missing. If
// GATEHOUSE_TEST_REQUIRE_SERVERS is set, as `make test` does, it fails instead.
package testkit
