package redis

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"turnout/gateway/conversation"
)

// holds reports whether any file of a folder holds some bytes.
func holds(t *testing.T, dir string, what []byte) bool {
	t.Helper()
	found := false
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, what)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestScrubbed erases a conversation: when Scrub has returned no file of the server holds its wrapped data key, nor
// anything that was sealed under it. Before, they do: the look would see them.
func TestScrubbed(t *testing.T) {
	n := newNodes(t)
	s := n.node(n.server.Addr())
	st := n.opening("x")
	n.commit(s, st)
	p, err := home(st.Ref)
	n.must(err)
	c := n.server.Client()
	read := func(key, field string) []byte {
		t.Helper()
		v, err := c.HGet(t.Context(), key, field).Bytes()
		n.must(err)
		return v
	}
	key, state := read(s.keys.ofTenant(p, n.tenant, "k"), st.Ref.ID), read(s.keys.conversation(p, st.Ref, "s"), "st")
	n.must(c.BgSave(t.Context()).Err()) // a snapshot has it too
	_, err = s.settled(t.Context(), c)
	n.must(err)
	wipe := n.step(st.Ref, n.load(s, st.Ref), conversation.Actor{Kind: conversation.System}, conversation.Wipe{})
	n.commit(s, wipe)
	for what, b := range map[string][]byte{"the key": key, "the state": state} {
		if !holds(t, n.server.Dir(), b) {
			t.Errorf("the look does not see %s before it is scrubbed", what)
		}
	}
	n.must(s.Scrub(t.Context()))
	for what, b := range map[string][]byte{"the key": key, "the state": state} {
		if holds(t, n.server.Dir(), b) {
			t.Errorf("a file holds %s of what was erased and scrubbed", what)
		}
	}
	n.must(s.Scrub(t.Context()))
	n.sound(s)
}
