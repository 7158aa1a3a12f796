// Package story tests turnout as its users meet it: a real process behind a real bot of somebody else's, customers and
// agents over HTTP, the README's commands as written, and the process killed with -9 in the middle of it. There is also the
// crowd (crowd_test.go: many connections that do next to nothing) and the soak (soak_test.go: everything at once for a
// long time, with faults), and what both are judged by (invariants_test.go). The disk under a process is full, slow or dead
// by the kernel where the tests run as root on Linux and may mount a file system, else by a file system within the process
// (disk_test.go); a run says by which.
package story
