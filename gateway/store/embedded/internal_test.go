package embedded

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
	"turnout/gateway/store/seal"
)

func testContent(t testing.TB) *seal.Content {
	t.Helper()
	r, err := seal.NewRoot(make([]byte, seal.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ten, _, err := r.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := ten.NewContent("c_1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testRef(t testing.TB) store.Ref {
	t.Helper()
	ten, err := store.NewTenant("acme")
	if err != nil {
		t.Fatal(err)
	}
	return store.Ref{Tenant: ten, ID: "c_0123456789abcdefghjkmnpqrs"}
}

func TestIndexKeyRoundTrip(t *testing.T) {
	r := testRef(t)
	for _, name := range []string{"", "idle", "send:m_1", "a\x00b"} {
		k := indexKey(dueTimer, 1234567890123, r, name)
		kind, ms, ref, got, ok := parseIndexKey(k)
		if !ok || kind != dueTimer || ms != 1234567890123 || ref != r || got != name {
			t.Errorf("%q: %c %d %v %q %v", name, kind, ms, ref, got, ok)
		}
	}
	if got, ok := parseStateKey(kindKey(conversationKey(r), kindState)); !ok || got != r {
		t.Errorf("state key: %v, %v", got, ok)
	}
	if _, ok := parseStateKey(rowKey(conversationKey(r), kindLog, 's')); ok {
		t.Error("a log key passes for a state key")
	}
}

func TestAfter(t *testing.T) {
	for _, tc := range []struct{ in, want []byte }{
		{[]byte("a"), []byte("b")},
		{[]byte{1, 0xff}, []byte{2}},
		{[]byte{0xff, 0xff}, nil},
	} {
		if got := after(tc.in); !bytes.Equal(got, tc.want) {
			t.Errorf("after(%x) = %x, want %x", tc.in, got, tc.want)
		}
	}
}

// TestFeedRing follows a feed over its end.
func TestFeedRing(t *testing.T) {
	var f feed
	for n := uint64(1); n <= 3*feedKept+5; n++ {
		f.add(store.FeedItem{Seq: n})
		if f.items[n%feedKept].Seq != n || len(f.items) > feedKept {
			t.Fatalf("change %d is not at its place of %d", n, len(f.items))
		}
		if n > feedKept {
			if first := n - feedKept + 1; f.items[first%feedKept].Seq != first {
				t.Fatalf("after %d changes the oldest kept is lost", n)
			}
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(64)
	ids := id.NewSource(rand.Reader, fixedNow)
	ten := testRef(t).Tenant
	var last *record
	for range 10000 {
		last = &record{ref: store.Ref{Tenant: ten, ID: ids.New(id.Conversation, 1)}}
		c.put(last)
	}
	n := 0
	for i := range c.shards {
		n += c.shards[i].order.Len()
		if len(c.shards[i].byRef) != c.shards[i].order.Len() {
			t.Error("map and list disagree")
		}
	}
	if n > 64 {
		t.Errorf("%d records are kept", n)
	}
	if c.get(last.ref) != last {
		t.Error("the last one is gone")
	}
}

// sealedRow is a row as a commit writes it: what stands behind the key is the clear part.
func sealedRow(t testing.TB, c *seal.Content, key, withClear, plain []byte) []byte {
	t.Helper()
	row, err := c.Seal(bytes.Clone(withClear[len(key):]), withClear, plain)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// FuzzRows opens rows that nobody wrote.
func FuzzRows(f *testing.F) {
	c := testContent(f)
	r := testRef(f)
	key := kindKey(conversationKey(r), kindState)
	rec := &record{ref: r, key: c, ops: ops{}.with("one").with("two"), state: &conversation.State{V: 1, ID: r.ID, Owner: conversation.Owner{Kind: message.OwnerBot}}}
	body, err := rec.state.AppendPacked(nil)
	if err != nil {
		f.Fatal(err)
	}
	good := sealedRow(f, c, key, rec.header(bytes.Clone(key)), body)
	back, err := decodeRecord(r, key, good, c)
	if err != nil || back.version() != "two" || len(back.ops.marks) != 2 || !back.ops.has("one") || back.ops.has("on") || back.state.ID != r.ID {
		f.Fatalf("round trip: %+v, %v", back, err)
	}
	logKey := rowKey(conversationKey(r), kindLog, 7)
	sp := span{first: 7, last: 8, seen: 300, upTo: 301}
	events := sealedRow(f, c, logKey, appendSpan(bytes.Clone(logKey), sp),
		appendLogged(appendLogged(nil, 0, []byte("{}")), 301, []byte("[]")))
	open := func(b []byte) (span, []string, error) {
		sp, sealed, err := parseSpan(7, b)
		if err != nil {
			return sp, nil, err
		}
		row := logRow{span: sp, key: logKey, clear: b[:len(b)-len(sealed)], sealed: sealed}
		var all []string
		err = row.events(c, func(seq, vseq uint64, encoded []byte) (bool, error) {
			all = append(all, fmt.Sprintf("%d %d %s", seq, vseq, encoded))
			return true, nil
		})
		return sp, all, err
	}
	if got, all, err := open(events); err != nil || got != sp || !slices.Equal(all, []string{"7 0 {}", "8 301 []"}) {
		f.Fatalf("round trip: %+v %q, %v", got, all, err)
	}
	for _, b := range [][]byte{nil, {1}, {1, 255}, good, good[:40], events, events[:20], bytes.Repeat([]byte{0xff}, 64), {1, 'x', 2, 'y', 'z'}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := decodeRecord(r, key, b, c); err == nil && (!bytes.Equal(b, good) || got.version() != "two") {
			t.Error("a forged state row was read")
		}
		if _, _, err := open(b); err == nil && !bytes.Equal(b, events) {
			t.Error("a forged log row was read")
		}
		n := 0
		if entriesOf(b, func(entry []byte) bool { n += len(entry); return true }) == nil && n > 24*len(b) {
			t.Error("audit entries of more than their row")
		}
		_, _ = decodeHead(b)
		if _, _, ref, _, ok := parseIndexKey(b); ok && ref.Tenant == (store.Tenant{}) {
			t.Error("an index key without a tenant")
		}
		if len(b) > 0 {
			_, _ = parseStateKey(b)
		}
	})
}

// FuzzEvents reads the sealed part of a log row, which only the holder of the key can write: still nothing may be read
// beyond it.
func FuzzEvents(f *testing.F) {
	c := testContent(f)
	key := rowKey(conversationKey(testRef(f)), kindLog, 1)
	f.Add(uint8(2), appendLogged(appendLogged(nil, 0, []byte("{}")), 5, nil))
	f.Add(uint8(1), []byte{0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, n uint8, plain []byte) {
		sp := span{first: 1, last: max(1, uint64(n))}
		full := appendSpan(bytes.Clone(key), sp)
		row := logRow{span: sp, key: key, clear: full[len(key):], sealed: sealedRow(t, c, key, full, plain)[len(full)-len(key):]}
		size, count := 0, uint64(0)
		err := row.events(c, func(_, _ uint64, encoded []byte) (bool, error) {
			size, count = size+len(encoded), count+1
			return true, nil
		})
		if size > len(plain) || err == nil && count != sp.last {
			t.Errorf("%d events of %d bytes out of %d", count, size, len(plain))
		}
	})
}

// TestOps keeps the last operations and no more.
func TestOps(t *testing.T) {
	var o ops
	for i := range 3 * keptOps {
		o = o.with(store.Token(fmt.Sprint("op-", i)))
		for j := range i + 1 {
			if got := o.has(store.Token(fmt.Sprint("op-", j))); got != (i-j < keptOps) {
				t.Fatalf("after operation %d: operation %d is known: %v", i, j, got)
			}
		}
		back, rest, err := parseOps(append(o.append(nil), "rest"...))
		if err != nil || string(rest) != "rest" || back.last != o.last || !slices.Equal(back.marks, o.marks) {
			t.Fatalf("read back: %+v, %q, %v", back, rest, err)
		}
	}
}

// FuzzLog looks for damage in logs that nobody wrote.
func FuzzLog(f *testing.F) {
	f.Add([]byte{}, uint32(1))
	f.Add(make([]byte, walBlock+100), uint32(2))
	f.Add(append(make([]byte, 6), 9, 1, 0, 0, 0), uint32(1))
	f.Fuzz(func(t *testing.T, log []byte, number uint32) {
		if at, ok := damagedAt(log, number); ok && (at < 0 || at >= len(log)) {
			t.Errorf("damaged at %d of %d", at, len(log))
		}
	})
}

func fixedNow() time.Time { return time.Unix(1e9, 0) }
