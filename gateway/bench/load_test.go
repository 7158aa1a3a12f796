package bench

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestNote(t *testing.T) {
	answer := []byte("You wrote: x")
	v := newVisitor(1, "host", "token")
	for n, c := range []struct {
		status int
		body   string
		whole  bool
		cursor string
	}{
		{200, `{"messages":[{"text":"You wrote: x"}],"cursor":"c.2"}`, true, "c.2"},
		{200, `{"merged_into":"m","cursor":"c.3"}`, false, "c.3"},
		{202, `{"cursor":"c.4"}`, false, "c.4"},
		{200, `{"messages":[{"text":"You wrote: y"}],"cursor":"c.6"}`, false, "c.6"},
		{503, `You wrote: x, "cursor":"c.9"`, false, "c.6"},
	} {
		if got := v.note(n, c.status, []byte(c.body), answer); got != c.whole || string(v.cursor) != c.cursor {
			t.Errorf("%d %s: whole %v, cursor %s", c.status, c.body, got, v.cursor)
		}
	}
	if !slices.Equal(v.unanswered, []int{1, 2, 3}) || !slices.Equal(v.failed, []int{4}) {
		t.Errorf("unanswered %v, failed %v", v.unanswered, v.failed)
	}
}

// TestLoadKeepsOneTurnPerConversation serves a load and watches for two requests of one visitor at a time.
func TestLoadKeepsOneTurnPerConversation(t *testing.T) {
	var mu sync.Mutex
	busy, twice := map[string]bool{}, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		mu.Lock()
		if busy[token] {
			twice++
		}
		busy[token] = true
		mu.Unlock()
		defer func() {
			mu.Lock()
			busy[token] = false
			mu.Unlock()
		}()
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	visitors := []*visitor{newVisitor(0, addr, "a"), newVisitor(1, addr, "b"), newVisitor(2, addr, "c")}
	l := load{side: &side{name: "test", addr: addr, visitors: visitors}, connections: 2, length: time.Minute}
	// Nothing is ever answered, so each connection gives up by itself long before the minute.
	_, err := l.run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "status 202") {
		t.Errorf("got %v", err)
	}
	if twice > 0 {
		t.Errorf("%d requests of a visitor came in while another was under way", twice)
	}
	if visitors[0].sent != maxFailures/2 || visitors[1].sent != maxFailures || visitors[2].sent != maxFailures/2 {
		t.Errorf("sent %d, %d and %d", visitors[0].sent, visitors[1].sent, visitors[2].sent)
	}
}

// TestLoadGivesUpOnBrokenConnections breaks every connection off.
func TestLoadGivesUpOnBrokenConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	addr := listener.Addr().String()
	v := newVisitor(0, addr, "a")
	l := load{side: &side{name: "test", addr: addr, visitors: []*visitor{v}}, connections: 1, length: time.Minute}
	if _, err := l.run(context.Background()); err == nil {
		t.Error("the load went well")
	}
	if len(v.failed) != maxFailures || len(v.unanswered) != 0 {
		t.Errorf("failed %v, unanswered %v", v.failed, v.unanswered)
	}
}
