package bench

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/valyala/fastjson"
)

func TestSizes(t *testing.T) {
	var p fastjson.Parser
	seen := map[string]bool{}
	for v := range 50 {
		for n := range 50 {
			message := appendMessage(nil, v, n)
			if len(message) != messageBytes || !json.Valid(message) {
				t.Fatalf("a message of %d bytes, want %d of JSON: %s", len(message), messageBytes, message)
			}
			reply, err := echo(nil, &p, message)
			if err != nil || len(reply) != replyBytes || !json.Valid(reply) {
				t.Fatalf("a reply of %d bytes, want %d of JSON: %s, %v", len(reply), replyBytes, reply, err)
			}
			answer := appendAnswer(nil, v, n)
			if !bytes.Contains(reply, answer) {
				t.Fatalf("%s does not hold %s", reply, answer)
			}
			if seen[string(answer)] {
				t.Fatalf("visitor %d, turn %d says what was said before", v, n)
			}
			seen[string(answer)] = true
		}
	}
	if id := appendID(nil, maxVisitors, 999_999); len(id) != idChars {
		t.Errorf("an id is %s", id)
	}
}

func TestEcho(t *testing.T) {
	var p fastjson.Parser
	for _, c := range []struct{ body, want string }{
		{`{"text":"top","message":{"text":"in \"a\" turn\n"}}`, "You wrote: in \"a\" turn\n"},
		{`{"text":""}`, "You wrote: "},
		{`{"text":5}`, ""}, {`{}`, ""}, {`[`, ""}, {``, ""},
	} {
		reply, err := echo(nil, &p, []byte(c.body))
		if c.want == "" {
			if err == nil {
				t.Errorf("%s is answered", c.body)
			}
			continue
		}
		var r struct{ Text string }
		if err := json.Unmarshal(reply, &r); err != nil || r.Text != c.want {
			t.Errorf("%s is answered by %q, %v", c.body, r.Text, err)
		}
	}
}
