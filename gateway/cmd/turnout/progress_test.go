package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	now := time.Unix(0, 0)
	var out bytes.Buffer
	p := &progress{r: io.LimitReader(zeros{}, 4<<20), out: &out, what: "verifying", size: 4 << 20, now: func() time.Time { return now }, shown: now}
	b := make([]byte, 1<<20)
	for range 4 {
		if _, err := p.Read(b); err != nil {
			t.Fatal(err)
		}
		now = now.Add(600 * time.Millisecond)
	}
	p.done()
	if got := strings.ReplaceAll(out.String(), "\r", "|"); got != "|verifying: 3 of 4 MiB, 75 %|verifying: 4 of 4 MiB, 100 %\n" {
		t.Errorf("it shows %q", got)
	}
	silent := &progress{r: strings.NewReader("x"), now: time.Now}
	if b, err := io.ReadAll(silent); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
	silent.done()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
