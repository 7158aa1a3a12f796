package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// tick is the unit of CPU time in /proc: USER_HZ is 100 on every architecture that Go runs on under Linux.
const tick = 10 * time.Millisecond

// usage is what a process has used.
type usage struct {
	cpu time.Duration // user and system, in whole ticks
	rss int64         // bytes, now
}

func (u usage) plus(v usage) usage { return usage{u.cpu + v.cpu, u.rss + v.rss} }

// procs reads a process file system.
type procs struct{ files fs.FS }

// alone returns what a process used by itself, all its threads together.
func (p procs) alone(pid int) (usage, error) {
	s, err := p.stat(strconv.Itoa(pid))
	return usage{cpu: s.own, rss: s.rss}, err
}

// tree returns what a process, its living descendants and those that it has waited for used together.
func (p procs) tree(pid int) (usage, error) {
	root, err := p.stat(strconv.Itoa(pid))
	if err != nil {
		return usage{}, err
	}
	entries, err := fs.ReadDir(p.files, ".")
	if err != nil {
		return usage{}, fmt.Errorf("listing processes: %w", err)
	}
	children := map[int][]procStat{}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		// A process may end between the listing and the reading.
		if s, err := p.stat(e.Name()); err == nil {
			children[s.parent] = append(children[s.parent], s)
		}
	}
	var total usage
	for open := []procStat{root}; len(open) > 0; {
		s := open[0]
		open = append(open[1:], children[s.pid]...)
		total = total.plus(usage{cpu: s.own + s.waited, rss: s.rss})
	}
	return total, nil
}

func (p procs) stat(pid string) (procStat, error) {
	data, err := fs.ReadFile(p.files, pid+"/stat")
	if err != nil {
		return procStat{}, fmt.Errorf("reading a process's usage: %w", err)
	}
	return parseStat(data)
}

// procStat is what counts here of /proc/PID/stat, see proc_pid_stat(5).
type procStat struct {
	pid, parent int
	own, waited time.Duration // CPU time of the process, and of children that it has waited for
	rss         int64
}

var errStat = errors.New("the process's stat line is not understood")

func parseStat(line []byte) (procStat, error) {
	// The second field is the program's name in brackets, with whatever characters that has.
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || end < open {
		return procStat{}, errStat
	}
	const first = 3 // the number of the first field after the name
	fields := bytes.Fields(line[end+1:])
	var bad error
	number := func(field []byte) int64 {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil || n < 0 || n > 1<<40 {
			bad = errStat
			return 0
		}
		return n
	}
	if len(fields) <= 24-first {
		return procStat{}, errStat
	}
	s := procStat{
		pid:    int(number(bytes.TrimSpace(line[:open]))),
		parent: int(number(fields[4-first])),
		own:    time.Duration(number(fields[14-first])+number(fields[15-first])) * tick,
		waited: time.Duration(number(fields[16-first])+number(fields[17-first])) * tick,
		rss:    number(fields[24-first]) * int64(os.Getpagesize()),
	}
	if bad != nil {
		return procStat{}, bad
	}
	return s, nil
}
