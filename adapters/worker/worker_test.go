package worker

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestEveryJobRunsOnceAndAtOnce(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := New()
	defer c.Close()
	var ran atomic.Int64
	var wg sync.WaitGroup
	block := make(chan struct{})
	for range 100 { // none waits for another: a crew does not bound
		wg.Add(1)
		c.Go(func() {
			defer wg.Done()
			ran.Add(1)
			<-block
		})
	}
	close(block)
	wg.Wait()
	for range 1000 {
		wg.Add(1)
		c.Go(func() { defer wg.Done(); ran.Add(1) })
	}
	wg.Wait()
	if ran.Load() != 1100 {
		t.Errorf("%d jobs ran", ran.Load())
	}
}

func TestIdleGoroutinesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New()
		var wg sync.WaitGroup
		wg.Add(1)
		c.Go(wg.Done)
		wg.Wait()
		time.Sleep(idleFor + time.Second) // the bubble's clock; its goroutines must all have ended by its end
	})
}
