package hostile

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode"
	"unicode/utf8"
)

// bot is a bot that says again what it hears. It remembers what it heard by the client's id of the message.
type bot struct {
	url string

	mu    sync.Mutex
	heard map[string]string
	held  chan struct{} // turns that hold wait for it to close

	garbled atomic.Int64 // requests whose body is no JSON in UTF-8, or has a text with controls
}

const (
	saidBefore = "You said: "
	// floodText makes the bot answer with the longest text, of letters that take six bytes each on the way to clients.
	floodText = "please-tell-me-everything"
	floodSize = 6 * (60 << 10)
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
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &turn)
	}
	if err != nil || !utf8.Valid(body) || strings.ContainsFunc(turn.Message.Text, control) {
		b.garbled.Add(1)
		http.Error(w, "this is no turn", http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.heard[turn.Message.ID] = turn.Message.Text
	b.mu.Unlock()
	answer := saidBefore + turn.Message.Text
	switch turn.Message.Text {
	case floodText:
		answer = strings.Repeat("<", floodSize/6)
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

func control(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }

func (b *bot) text(id string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, ok := b.heard[id]
	return text, ok
}
