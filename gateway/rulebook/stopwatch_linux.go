package rulebook

import (
	"time"

	"golang.org/x/sys/unix"
)

// stopwatch reads the processor time of the thread (clock_gettime(2), CLOCK_THREAD_CPUTIME_ID): while others have the
// processor it stands still.
func stopwatch() func() time.Duration {
	start := time.Now()
	return func() time.Duration {
		var t unix.Timespec
		if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
			return time.Since(start)
		}
		return time.Duration(t.Nano())
	}
}
