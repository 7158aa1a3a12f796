package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Disk is how long the disk takes to make a small write durable.
type Disk struct {
	Dir string `json:"dir"`
	// InMemory is set when the folder lies on a file system that keeps nothing; the gateway's figures are then flattered.
	InMemory bool    `json:"in_memory,omitempty"`
	Syncs    int     `json:"syncs"`
	MedianUS float64 `json:"sync_median_us"`
	P99US    float64 `json:"sync_p99_us"`
}

// String returns the figures for people.
func (d Disk) String() string {
	s := fmt.Sprintf("write of %d bytes and sync: median %.0f µs, p99 %.0f µs (%d in %s)", syncBytes, d.MedianUS, d.P99US, d.Syncs, d.Dir)
	if d.InMemory {
		s += "\nTHE FOLDER LIES IN MEMORY: nothing is durable there; choose one on a disk"
	}
	return s
}

const (
	syncBytes = 512
	maxSyncs  = 500
	syncTime  = 2 * time.Second
)

// MeasureDisk appends to a file in dir and syncs each write: at most 500 times and for about 2 s. The file is gone after it.
func MeasureDisk(dir string) (_ Disk, err error) {
	f, err := os.CreateTemp(dir, "sync-*")
	if err != nil {
		return Disk{}, fmt.Errorf("measuring the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, syncBytes)
	took := make([]int64, 0, maxSyncs)
	for begin := time.Now(); len(took) < maxSyncs && time.Since(begin) < syncTime; {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return Disk{}, fmt.Errorf("measuring the disk: %w", err)
		}
		if err := syncData(f); err != nil {
			return Disk{}, fmt.Errorf("measuring the disk: %w", err)
		}
		took = append(took, time.Since(start).Nanoseconds())
	}
	slices.Sort(took)
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Disk{}, fmt.Errorf("measuring the disk: %w", err)
	}
	return Disk{
		Dir: abs, InMemory: inMemory(dir), Syncs: len(took),
		MedianUS: float64(percentile(took, 50)) / 1e3, P99US: float64(percentile(took, 99)) / 1e3,
	}, nil
}
