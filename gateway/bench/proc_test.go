package bench

import (
	"fmt"
	"os"
	"testing"
	"testing/fstest"
	"time"
)

// statLine is a line of /proc/PID/stat with CPU times in ticks and memory in pages.
func statLine(pid int, name string, parent, user, system, childUser, childSystem, pages int) string {
	return fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194560 100 0 0 0 %d %d %d %d 20 0 9 0 777 1000000 %d 18446744073709551615 1 1\n",
		pid, name, parent, user, system, childUser, childSystem, pages)
}

func TestUsage(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	p := procs{fstest.MapFS{
		"10/stat":      file(statLine(10, "nginx: master", 1, 1, 2, 3, 4, 5)),
		"11/stat":      file(statLine(11, "a) S 99 (b", 10, 10, 20, 0, 0, 50)),
		"12/stat":      file(statLine(12, "worker", 11, 100, 200, 0, 0, 500)),
		"20/stat":      file(statLine(20, "another", 1, 1000, 2000, 0, 0, 5000)),
		"21/stat":      file("gone"),
		"sys/x":        file("x"),
		"uptime":       file("1 2"),
		"loadavg/stat": file("x"),
	}}
	page := int64(os.Getpagesize())
	if got, err := p.tree(10); err != nil || got != (usage{3400 * time.Millisecond, 555 * page}) {
		t.Errorf("tree: %+v, %v", got, err)
	}
	if got, err := p.alone(10); err != nil || got != (usage{30 * time.Millisecond, 5 * page}) {
		t.Errorf("alone: %+v, %v", got, err)
	}
	for _, pid := range []int{21, 99} {
		if _, err := p.tree(pid); err == nil {
			t.Errorf("process %d has a usage", pid)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine(1, "init", 0, 5, 6, 7, 8, 9)))
	f.Add([]byte(statLine(7, ") 1 2 (", 0, 5, 6, 7, 8, 9)))
	f.Add([]byte("1 (x) S -1 1"))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, line []byte) {
		s, err := parseStat(line)
		if err == nil && (s.own < 0 || s.waited < 0 || s.rss < 0 || s.parent < 0) {
			t.Errorf("%q gives %+v", line, s)
		}
	})
}
