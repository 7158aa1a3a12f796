package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"
)

// TestNoncesAreNeverGivenTwice draws from several goroutines over many blocks.
func TestNoncesAreNeverGivenTwice(t *testing.T) {
	e := &entropy{from: rand.Reader}
	const each, workers = 500, 4
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[[nonceSize]byte]bool{}
	for range workers {
		wg.Go(func() {
			for range each {
				var n [nonceSize]byte
				if err := e.nonce(n[:]); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != each*workers {
		t.Errorf("%d nonces of %d differ", len(seen), each*workers)
	}
}

// TestNoncesAreTheSource: what is given out is what was drawn, in order, none skipped.
func TestNoncesAreTheSource(t *testing.T) {
	source := make([]byte, 4*64*nonceSize)
	for i := range source {
		source[i] = byte(i * 7 / 3)
	}
	e := &entropy{from: iotest.OneByteReader(bytes.NewReader(source))}
	var got []byte
	for range len(source) / nonceSize {
		n := make([]byte, nonceSize)
		if err := e.nonce(n); err != nil {
			t.Fatal(err)
		}
		got = append(got, n...)
	}
	if !bytes.Equal(got, source) {
		t.Error("the nonces are not what was drawn")
	}
	for range 2 {
		if err := e.nonce(make([]byte, nonceSize)); !errors.Is(err, io.EOF) {
			t.Errorf("after the end of the source: %v", err)
		}
	}
}

func testContent(t *testing.T) *Content {
	t.Helper()
	c, err := newContent(make([]byte, KeySize), &entropy{from: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestMACIsHMAC also uses one state from several goroutines.
func TestMACIsHMAC(t *testing.T) {
	c := testContent(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				b := bytes.Repeat([]byte{byte(i)}, n)
				h := hmac.New(sha256.New, c.audit.key)
				h.Write(b)
				if !hmac.Equal(c.MAC(b), h.Sum(nil)) {
					t.Error("the digest is not the HMAC")
				}
			}
		})
	}
	wg.Wait()
}

// TestSealInPlace: a value is sealed into the room that it is given, without moving.
func TestSealInPlace(t *testing.T) {
	c := testContent(t)
	plain, aad := []byte("some text"), []byte("key")
	room := make([]byte, 3+len(plain)+Overhead)
	out, err := c.Seal(append(room[:0], "abc"...), aad, plain)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != len(room) || &out[0] != &room[0] {
		t.Fatalf("%d bytes elsewhere, want %d in place", len(out), len(room))
	}
	if back, err := c.Open(nil, aad, room[3:]); err != nil || !bytes.Equal(back, plain) {
		t.Errorf("opened: %q, %v", back, err)
	}
}
