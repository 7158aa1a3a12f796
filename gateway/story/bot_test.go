package story

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// testBot is a bot that does what its text says and writes down what it was asked.
type testBot struct {
	*httptest.Server
	mu    sync.Mutex
	calls []call
	hang  context.CancelFunc
	held  context.Context
	late  chan struct{}
}

type call struct {
	User, Text, Turn string
}

func newTestBot(t *testing.T) *testBot {
	b := &testBot{late: make(chan struct{})}
	b.held, b.hang = context.WithCancel(context.Background())
	b.Server = httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(func() { b.hang(); b.Server.Close() })
	return b
}

func (b *testBot) serve(w http.ResponseWriter, r *http.Request) {
	var c call
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.calls = append(b.calls, c)
	b.mu.Unlock()
	reply := func(text string) { json.NewEncoder(w).Encode(map[string]string{"reply": text}) }
	switch c.Text {
	case "hang":
		<-b.held.Done()
	case "late":
		<-b.late
		reply("late answer")
	case "garbage":
		w.Write([]byte("<html>{\"reply\":"))
	case "500":
		http.Error(w, "boom", http.StatusInternalServerError)
	case "empty":
		reply("")
	case "parts":
		json.NewEncoder(w).Encode(map[string][]string{"reply": {"part one", "part two", "part three"}})
	case "twice":
		// Two responses on one connection: what follows the first belongs to nobody.
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		const one = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n{\"reply\":\"first here\"}"
		buf.WriteString(one + "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n{\"reply\":\"again there\"}"[:len(one)])
		buf.Flush()
	default:
		reply("you said: " + c.Text)
	}
}

func (b *testBot) asked() []call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]call(nil), b.calls...)
}
