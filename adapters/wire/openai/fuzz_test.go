package openai

import (
	"errors"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"
)

func known(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrCut) {
		t.Fatalf("an error of no kind that is known: %v", err)
	}
}

// again checks that a reply that was read is written and read as it is.
func again(t *testing.T, r Reply) {
	t.Helper()
	if !utf8.ValidString(r.Text) || !utf8.ValidString(r.Refusal) || len(r.Sources) > maxSources || len(r.Calls) > maxCalls {
		t.Fatalf("%+v", r)
	}
	r.Sources = nil // written in one form, with titles first
	for i := range r.Calls {
		r.Calls[i].ID = string(rune('a' + i)) // so that they are told apart
	}
	if back, err := DecodeReply(r.Encode(time.Time{})); err != nil || !reflect.DeepEqual(back, r) {
		t.Fatalf("%+v was read as %+v, %v", r, back, err)
	}
	var s Stream
	if err := s.Feed(r.AppendStream(nil, time.Time{}, 3)); err != nil {
		t.Fatal(err)
	}
	if back, err := s.Reply(); err != nil || !reflect.DeepEqual(back, r) {
		t.Fatalf("%+v was streamed as %+v, %v", r, back, err)
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"choices":[{"message":{"content":"x","tool_calls":[{"function":{"name":"f"}}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeReply(body)
		if err != nil {
			known(t, err)
			return
		}
		again(t, r)
	})
}

// What a stream says does not hang on how the network cut it.
func FuzzStream(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\n\n"), uint8(3))
	f.Fuzz(func(t *testing.T, body []byte, size uint8) {
		read := func(size int) (Reply, error) {
			var s Stream
			for rest := body; len(rest) > 0; {
				n := min(size, len(rest))
				if err := s.Feed(rest[:n]); err != nil {
					return Reply{}, err
				}
				rest = rest[n:]
			}
			return s.Reply()
		}
		r, err := read(max(1, len(body)))
		cut, errCut := read(int(size)%64 + 1)
		if !reflect.DeepEqual(r, cut) || (err == nil) != (errCut == nil) || err != nil && err.Error() != errCut.Error() {
			t.Fatalf("whole %+v, %v; in pieces %+v, %v", r, err, cut, errCut)
		}
		if err != nil {
			known(t, err)
			return
		}
		again(t, r)
	})
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"temperature":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeRequest(body)
		if err != nil {
			known(t, err)
			return
		}
		written, err := r.Encode()
		if err != nil {
			return // a tool without parameters that are JSON cannot come from JSON; a name that is reserved is left out
		}
		back, err := DecodeRequest(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		twice, err := back.Encode()
		if err != nil || string(twice) != string(written) {
			t.Fatalf("%s became %s, %v", written, twice, err)
		}
	})
}
