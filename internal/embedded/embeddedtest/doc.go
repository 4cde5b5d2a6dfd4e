// Package embeddedtest gives tests a real Postgres, NATS and Temporal.
//
// `go test ./...` runs every package as a process of its own, many at a time. Postgres and Temporal are therefore
// shared: the first test that needs one starts a keeper, a detached process that runs the server under a directory of
// the system's temporary directory and ends it once no test process has used it for [IdleTimeout]. Each test gets its
// own database or namespace. A NATS server starts in milliseconds, so each test gets its own, in its own process.
//
// Nothing has to be set up: importing the package is enough, whether or not the test binary has a TestMain. What
// killed runs leave behind is cleaned up by the next keeper. The shared servers trade durability for speed; tests about
// durability start their own with package embedded.
package embeddedtest
