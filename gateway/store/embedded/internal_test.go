package embedded

import (
	"bytes"
	"crypto/rand"
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

// FuzzRows opens rows that nobody wrote.
func FuzzRows(f *testing.F) {
	c := testContent(f)
	r := testRef(f)
	key := kindKey(conversationKey(r), kindState)
	rec := &record{ref: r, key: c, ops: []store.Token{"one", "two"}, state: &conversation.State{V: 1, ID: r.ID, Owner: conversation.Owner{Kind: message.OwnerBot}}}
	good, err := rec.encode(key)
	if err != nil {
		f.Fatal(err)
	}
	back, err := decodeRecord(r, key, good, c)
	if err != nil || back.version() != "two" || len(back.ops) != 2 || back.state.ID != r.ID {
		f.Fatalf("round trip: %+v, %v", back, err)
	}
	event, err := encodeEvent(c, key, 300, []byte("{}"))
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{nil, {1}, {1, 255}, good, good[:40], event, bytes.Repeat([]byte{0xff}, 64)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := decodeRecord(r, key, b, c); err == nil && (!bytes.Equal(b, good) || got.version() != "two") {
			t.Error("a forged state row was read")
		}
		if _, err := decodeEvent(c, key, b); err == nil {
			t.Error("a forged log row was read")
		}
		_, _ = visibleUpTo(b)
		_, _ = decodeHead(b)
		if _, _, ref, _, ok := parseIndexKey(b); ok && ref.Tenant == (store.Tenant{}) {
			t.Error("an index key without a tenant")
		}
		if len(b) > 0 {
			_, _ = parseStateKey(b)
		}
	})
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
