package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress shows on a terminal how much of something long has been read, once a second.
type progress struct {
	r     io.Reader
	out   io.Writer // nil: nobody looks
	what  string
	size  int64 // 0: not known
	read  int64
	shown time.Time
	any   bool // something was shown
	now   func() time.Time
}

// showing wraps r if somebody can see it.
func showing(r io.Reader, what string, size int64) *progress {
	p := &progress{r: r, what: what, size: size, now: time.Now}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		p.out = os.Stderr
	}
	p.shown = p.now()
	return p
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.read += int64(n)
	if p.out != nil && p.now().Sub(p.shown) >= time.Second {
		p.shown = p.now()
		p.show()
	}
	return n, err
}

func (p *progress) show() {
	p.any = true
	if p.size > 0 {
		fmt.Fprintf(p.out, "\r%s: %d of %d MiB, %d %%", p.what, p.read>>20, p.size>>20, p.read*100/p.size)
		return
	}
	fmt.Fprintf(p.out, "\r%s: %d MiB", p.what, p.read>>20)
}

// done ends the line, if there is one.
func (p *progress) done() {
	if p.any {
		p.show()
		fmt.Fprintln(p.out)
	}
}
