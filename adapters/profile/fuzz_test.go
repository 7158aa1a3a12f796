package profile

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"turnout/adapters"
)

// FuzzAccount: whatever a system sends becomes an account within its bounds, or a *LookError.
func FuzzAccount(f *testing.F) {
	m, err := newMapping(&Config{MaxTickets: 10, Response: ResponseConfig{
		Known: "body.found ?? true", Name: "body.name", Tickets: "body.tickets",
		Fields: map[string]string{"a": "body.a", "b": "body.b.c", "whole": "status"},
	}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		`{}`, `null`, `[]`, `1e999`, `{"found":false}`, `{"name":"x","a":1,"b":{"c":true},"tickets":[{"id":1,"at":"2026-01-01","url":"https://x.example/"}]}`,
		`{"tickets":[{"id":"\u0000","subject":"\ud800","url":"//x"},7,null]}`, `{"a":{"deep":[[[[]]]]}}`, strings.Repeat(`{"b":`, 50) + "1" + strings.Repeat("}", 50),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if body == nil {
			body = []byte{}
		}
		a, err := m.account(body, 200)
		if err != nil {
			if e := new(adapters.LookError); !errors.As(err, &e) {
				t.Fatalf("the error is a %T", err)
			}
			return
		}
		if a.Unknown && (a.Name != "" || a.Fields != nil || a.Tickets != nil) {
			t.Fatal("something is known of an unknown customer")
		}
		b, err := json.Marshal(a)
		if err != nil || len(b) > maxSize {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		check := func(s string) {
			if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r <= 0x9f }) {
				t.Fatalf("a text is not clean: %q", s)
			}
		}
		check(a.Name)
		for _, v := range a.Fields {
			switch v := v.(type) {
			case string:
				check(v)
			case bool, float64:
			default:
				t.Fatalf("a field is a %T", v)
			}
		}
		for _, ticket := range a.Tickets {
			check(ticket.ID)
			check(ticket.Subject)
			check(ticket.Status)
			if ticket.ID == "" || ticket.URL != "" && !strings.HasPrefix(ticket.URL, "http://") && !strings.HasPrefix(ticket.URL, "https://") {
				t.Fatalf("a ticket is %+v", ticket)
			}
		}
	})
}
