package webhook

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"turnout/adapters"
)

func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		`{"text":"hi"}`, `{"reply":["a","b"],"confidence":0.4}`, `[{"recipient_id":"u","text":"Hi"}]`,
		`{"messages":[{"text":"pick","buttons":[{"title":"Yes","payload":"/y"}],"image":"https://x.example/i"}]}`,
		`{"handoff":{"reason":"r","queue":"q"},"end":true,"sources":[{"title":"T","url":"http://x.example"}]}`,
		`{"text":"\ud800\u0000\r"}`, `{"intent":{"name":"x"}}`, `null`, `[[[[`, "", "\xff\xfe",
	} {
		f.Add([]byte(s))
	}
	mapping, err := newResponseMapping(&ResponseConfig{
		Parts: "body.messages", Confidence: "body.confidence", Handoff: "body.handoff", Sources: "body.sources",
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, m := range []*responseMapping{nil, mapping} {
			a, err := decode(body, 200, m)
			if err != nil {
				var failure *adapters.BotError
				if !errors.As(err, &failure) {
					t.Fatalf("%v is no BotError", err)
				}
				continue
			}
			if a.Confidence != nil && !(*a.Confidence >= 0 && *a.Confidence <= 1) {
				t.Errorf("confidence %v", *a.Confidence)
			}
			if len(a.Parts) > maxParts || len(a.Sources) > maxSources {
				t.Errorf("%d parts, %d sources", len(a.Parts), len(a.Sources))
			}
			for _, p := range a.Parts {
				if p.Empty() || !utf8.ValidString(p.Text) || strings.ContainsAny(p.Text, "\x00\r\x1b") {
					t.Errorf("part %+v", p)
				}
				if p.Link != "" && !strings.HasPrefix(p.Link, "http") {
					t.Errorf("link %q", p.Link)
				}
			}
		}
	})
}
