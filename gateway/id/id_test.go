package id

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPartitionSurvivesTheID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.IntRange(0, Partitions-1).Draw(t, "partition")
		ms := rapid.Int64Range(0, 1<<48-1).Draw(t, "ms")
		s := NewSource(rand.Reader, func() time.Time { return time.UnixMilli(ms) })
		v := s.New(Conversation, p)
		got, err := Partition(Conversation, v)
		if err != nil || got != p {
			t.Fatalf("Partition(%q) = %d, %v; want %d", v, got, err, p)
		}
		if _, err := Partition(Message, v); err == nil {
			t.Fatal("an id of another kind was taken")
		}
		if made, err := Time(Conversation, v); err != nil || made.UnixMilli() != ms {
			t.Fatalf("Time(%q) = %v, %v; want %d", v, made, err, ms)
		}
		if _, err := Time(Message, v); err == nil {
			t.Fatal("an id of another kind has a time")
		}
	})
}

func TestIDsOfOnePartitionSortByTime(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	s := NewSource(rand.Reader, func() time.Time { now = now.Add(time.Millisecond); return now })
	last := ""
	for range 100 {
		v := s.New(Message, 7)
		if v <= last {
			t.Fatalf("%q does not sort after %q", v, last)
		}
		last = v
	}
}

func TestAllSeventyRandomBitsAreUsed(t *testing.T) {
	zero := NewSource(bytes.NewReader(make([]byte, 1024)), func() time.Time { return time.UnixMilli(0) }).New(Row, 0)
	ones := NewSource(bytes.NewReader(bytes.Repeat([]byte{255}, 1024)), func() time.Time { return time.UnixMilli(0) }).New(Row, 0)
	if zero != "r_00000000000000000000000000" {
		t.Errorf("zero bits give %q", zero)
	}
	if ones[:13] != zero[:13] || ones[14:] != "zzzzzzzzzzzzzw"[:14] {
		t.Errorf("one bits give %q", ones)
	}
}

func TestTokensDiffer(t *testing.T) {
	s := NewSource(rand.Reader, time.Now)
	seen := map[string]bool{}
	for range 10_000 {
		v := s.Token()
		if len(v) != 22 || seen[v] {
			t.Fatalf("token %q is short or repeated", v)
		}
		seen[v] = true
	}
}

func FuzzPartition(f *testing.F) {
	f.Add("c_00000000000000000000000000")
	f.Add("c_")
	f.Add("m_zzzzzzzzzzzzzzzzzzzzzzzzzz\n")
	f.Fuzz(func(t *testing.T, v string) {
		if p, err := Partition(Conversation, v); err == nil && (p < 0 || p >= Partitions) {
			t.Fatalf("partition %d", p)
		}
	})
}
