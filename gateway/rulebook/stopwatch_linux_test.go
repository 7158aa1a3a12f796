package rulebook

import (
	"runtime"
	"testing"
	"time"
)

// TestStopwatchStandsStill holds that time in which others work does not count. The control is the clock on the wall.
func TestStopwatchStandsStill(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	watch, wall := stopwatch(), time.Now()
	done := make(chan struct{})
	start := watch()
	go func() {
		defer close(done)
		for time.Since(wall) < 100*time.Millisecond { // works for others
			runtime.Gosched()
		}
	}()
	<-done
	if took, passed := watch()-start, time.Since(wall); took > passed/2 {
		t.Errorf("%v went by for a thread that did nothing for %v", took, passed)
	}
	start = watch()
	for wall = time.Now(); watch()-start < time.Millisecond; {
		if time.Since(wall) > time.Minute {
			t.Fatal("it stands still while the thread works")
		}
	}
}
