package id

import (
	"bytes"
	"crypto/rand"
	"errors"
	"hash/fnv"
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

// TestPartitionOf holds the hash to FNV-1a over the parts, each ended by a zero: stores were divided by it.
func TestPartitionOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := [3]string{rapid.String().Draw(t, "tenant"), rapid.String().Draw(t, "channel"), rapid.String().Draw(t, "address")}
		h := fnv.New64a()
		for _, p := range parts {
			h.Write(append([]byte(p), 0))
		}
		v := h.Sum64()
		if got, want := PartitionOf(parts[0], parts[1], parts[2]), int((v^v>>32)%Partitions); got != want {
			t.Fatalf("%q lies in %d, want %d", parts, got, want)
		}
	})
}

// TestPartitionRefuses checks that only what New makes is an id.
func TestPartitionRefuses(t *testing.T) {
	const good = "c_2v06h13gq3m25rqeyfz13gsbtr"
	if p, err := Partition(Conversation, good); err != nil || p != 2<<5|27 {
		t.Errorf("%s lies in %d, %v", good, p, err)
	}
	for _, bad := range []string{"", "c_", good[:27], good + "0", "m" + good[1:], "c-" + good[2:], "c_\n" + good[3:], "c_U" + good[3:], good[:27] + "u", "c_é" + good[4:]} {
		if _, err := Partition(Conversation, bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
