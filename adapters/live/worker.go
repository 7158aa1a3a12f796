package live

import (
	"sync"
	"time"
)

// Worker does a piece of work whenever it is woken or the time for it has come, never twice at a time. Between the two it
// is no goroutine. It is made by Init.
type Worker struct {
	job Job

	mu      sync.Mutex
	timer   *time.Timer
	running bool
	again   bool
	stopped bool
	done    func()
}

// Job is what a worker does.
type Job interface {
	// Work does what there is to do and returns when it wants to be called next without being woken; zero: not by time.
	// It recovers its own panics.
	Work() (next time.Time)
}

// Init prepares the worker; it must come before everything else.
func (w *Worker) Init(job Job) { w.job = job }

// Wake has the work done soon, once for all wakes since it was last begun. It does not block.
func (w *Worker) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again = true
	if !w.running && !w.stopped {
		w.running = true
		go w.run()
	}
}

// Stop lets no more work begin. done is called once nothing runs: at once, or by the work that does. Only the first call
// counts.
func (w *Worker) Stop(done func()) {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return
	}
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.running {
		w.done = done
		w.mu.Unlock()
		return
	}
	w.mu.Unlock()
	done()
}

func (w *Worker) run() {
	for w.begin() {
		next := w.job.Work()
		w.mu.Lock()
		w.schedule(next)
		w.mu.Unlock()
	}
}

// begin reports whether there is work. If there is none, the worker rests.
func (w *Worker) begin() bool {
	w.mu.Lock()
	if w.again && !w.stopped {
		w.again = false
		w.mu.Unlock()
		return true
	}
	w.running = false
	done := w.done
	w.mu.Unlock()
	if done != nil {
		done()
	}
	return false
}

// schedule sets the timer; w.mu is held.
func (w *Worker) schedule(next time.Time) {
	switch {
	case w.stopped:
	case next.IsZero():
		if w.timer != nil {
			w.timer.Stop()
		}
	case w.timer == nil:
		w.timer = time.AfterFunc(time.Until(next), w.Wake)
	default:
		w.timer.Reset(time.Until(next))
	}
}
