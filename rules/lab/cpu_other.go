//go:build !unix

package lab

import "time"

var begun = time.Now()

// cpuTime is the time that has passed: this system does not tell the process' own.
func cpuTime() time.Duration { return time.Since(begun) }
