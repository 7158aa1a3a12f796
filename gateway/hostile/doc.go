// Package hostile holds tests only: everything that somebody who means harm can send to a running gateway, sent to one.
//
// A world (world_test.go) is a gateway in this process, built from configuration files by the same way as the program,
// listening on loopback, with two tenants and a bot for each. The tests speak to it as bytes on connections (wire_test.go),
// because what matters here is exactly what no well-behaved client would write.
//
// What is asserted is the same all over: an answer that says what to mend or none at all, never a 5xx; what is somebody
// else's looks like what does not exist; memory and goroutines come back to where they were; others are served meanwhile.
// Every text, token, key and address that a test uses is a canary: when all tests are over, the log of the whole run is
// searched for each of them (canary_test.go).
package hostile
