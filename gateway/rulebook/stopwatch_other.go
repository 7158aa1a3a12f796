//go:build !linux

package rulebook

import "time"

// stopwatch reads the clock on the wall, where nothing better is known. What the machine does besides is kept apart by timing
// more than once.
func stopwatch() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
