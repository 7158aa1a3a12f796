package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"turnout/adapters/message"
)

// stream writes events as the web channel does, in order of their sequence.
func stream(events []message.Visible) string {
	var b strings.Builder
	b.WriteString(": padding\nretry: 3000\n\n")
	for i, e := range events {
		e.VSeq = uint64(i + 1)
		data, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "id: c.%d\nevent: %s\ndata: %s\n\n: ping\n\nevent: typing\ndata: {}\n\n", i+1, e.Type, data)
	}
	return b.String()
}

// conversation is what the log should hold of the first turns of a visitor.
func conversation(v, turns int) []message.Visible {
	var events []message.Visible
	for n := range turns {
		events = append(events,
			message.Visible{Type: message.VisibleMessage, By: message.ByCustomer, ClientID: string(appendID(nil, v, n))},
			message.Visible{Type: message.VisibleMessage, By: message.ByBot, Part: &message.Part{Text: string(appendAnswer(nil, v, n))}})
	}
	return events
}

// TestReadBack reads a good log and logs with one fault each, every one of which must be found.
func TestReadBack(t *testing.T) {
	without := func(i int) func([]message.Visible) []message.Visible {
		return func(e []message.Visible) []message.Visible { return slices.Delete(e, i, i+1) }
	}
	for name, c := range map[string]struct {
		change      func([]message.Visible) []message.Visible
		lost, twice int
	}{
		"good":           {func(e []message.Visible) []message.Visible { return e }, 0, 0},
		"no message":     {without(2), 1, 0},
		"no answer":      {without(3), 1, 0},
		"message twice":  {func(e []message.Visible) []message.Visible { return append(e, e[0]) }, 0, 1},
		"another answer": {func(e []message.Visible) []message.Visible { e[5].Part = &message.Part{Text: "x"}; return e }, 1, 0},
		// Turn 3 was acknowledged without its answer, turn 4 not at all: both may be missing, in this way only.
		"no unanswered answer":  {without(7), 0, 0},
		"no unanswered message": {without(6), 1, 0},
		"no failed message":     {without(8), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			events := c.change(conversation(7, 5))
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != eventsPath || r.Header.Get("Authorization") != "Bearer token" {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				_, _ = io.WriteString(w, stream(events))
			}))
			defer server.Close()
			v := newVisitor(7, "", "token")
			v.sent, v.unanswered, v.failed = 5, []int{3}, []int{4}
			v.cursor = fmt.Appendf(nil, "c.%d", len(events))
			silent := newVisitor(8, "", "unused")
			log, err := readBack(context.Background(), server.Listener.Addr().String(), []*visitor{v, silent})
			if log.Lost != c.lost || log.Twice != c.twice || len(log.Faults) != c.lost+c.twice {
				t.Errorf("%+v", log)
			}
			if log.Conversations != 1 || log.Messages != 4 || log.Answers != 3 {
				t.Errorf("acknowledged: %+v", log)
			}
			if errors.Is(err, ErrLog) != (c.lost+c.twice > 0) || err != nil && !errors.Is(err, ErrLog) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestReadBackOfAnEmptyLog stops early: a log that lost everything is not waited for a thousand times.
func TestReadBackOfAnEmptyLog(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, stream(nil))
	}))
	defer server.Close()
	var visitors []*visitor
	for i := range 500 {
		v := newVisitor(i, "", "token")
		v.sent, v.cursor = 1, []byte("c.2")
		visitors = append(visitors, v)
	}
	log, err := readBack(context.Background(), server.Listener.Addr().String(), visitors)
	if !errors.Is(err, ErrLog) {
		t.Errorf("error %v", err)
	}
	if log.Conversations < maxFaults || log.Conversations+log.Unread != len(visitors) || log.Unread < 400 {
		t.Errorf("read %d, left %d unread", log.Conversations, log.Unread)
	}
	if log.Lost != 3*log.Conversations || len(log.Faults) != maxFaults {
		t.Errorf("%d lost, %d described", log.Lost, len(log.Faults))
	}
}

func TestReadBackRefused(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	v := newVisitor(1, "", "token")
	v.cursor = []byte("c.1")
	if _, err := readBack(context.Background(), server.Listener.Addr().String(), []*visitor{v}); err == nil || errors.Is(err, ErrLog) {
		t.Errorf("got %v", err)
	}
	if _, err := openSessions(context.Background(), server.Listener.Addr().String(), 0, 1); err == nil {
		t.Error("a session was opened")
	}
}

func TestReadEvents(t *testing.T) {
	whole := stream(conversation(1, 2))
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"cut":       {whole[:strings.Index(whole, "id: c.4")], io.ErrUnexpectedEOF},
		"gap":       {strings.ReplaceAll(whole, `"vseq":3`, `"vseq":4`), errGap},
		"repeated":  {strings.ReplaceAll(whole, `"vseq":3`, `"vseq":2`), errGap},
		"not JSON":  {strings.ReplaceAll(whole, `"vseq":3`, `"vseq":`), nil},
		"long line": {"id: c.1\ndata: " + strings.Repeat("x", maxEventLine), nil},
	} {
		err := readEvents(strings.NewReader(c.text), "c.4", func(message.Visible) {})
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	count := 0
	if err := readEvents(strings.NewReader(whole), "c.3", func(message.Visible) { count++ }); err != nil || count != 3 {
		t.Errorf("up to the third: %d, %v", count, err)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add(stream(conversation(1, 2)))
	f.Add("id: c.1\ndata: {}\n")
	f.Add("data:\nid\nid:\n:\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		next := uint64(1)
		err := readEvents(strings.NewReader(text), "c.4", func(e message.Visible) {
			if e.VSeq != next {
				t.Errorf("event %d comes after event %d", e.VSeq, next-1)
			}
			next++
		})
		if err == nil && next == 1 {
			t.Error("the last event was found among none")
		}
	})
}
