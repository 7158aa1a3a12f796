package hostile

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// bot is a bot that says again what it hears. It remembers what it heard by the client's id of the message.
type bot struct {
	url string

	mu    sync.Mutex
	heard map[string]string
	held  chan struct{} // turns that hold wait for it to close
}

const (
	saidBefore = "You said: "
	// floodText makes the bot answer with more than any buffer of a connection takes in.
	floodText = "please-tell-me-everything"
	floodSize = 400 << 10
	holdText  = "please-take-your-time"
)

func newBot(t testing.TB) *bot {
	b := &bot{heard: map[string]string{}, held: make(chan struct{})}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	b.url = s.URL + "/"
	return b
}

func (b *bot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var turn struct {
		Message struct {
			ID   string `json:"id"`
			Text string `json:"text"`
		} `json:"message"`
	}
	if err := json.NewDecoder(r.Body).Decode(&turn); err != nil {
		http.Error(w, "this is no turn", http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.heard[turn.Message.ID] = turn.Message.Text
	b.mu.Unlock()
	answer := saidBefore + turn.Message.Text
	switch turn.Message.Text {
	case floodText:
		answer = strings.Repeat("All of it. ", floodSize/11)
	case holdText:
		select {
		case <-b.held:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"text": answer}) // a gateway that hung up is its own test's matter
}

func (b *bot) text(id string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, ok := b.heard[id]
	return text, ok
}
