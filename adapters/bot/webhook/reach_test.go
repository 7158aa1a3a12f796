package webhook_test

import (
	"context"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"turnout/adapters"
	"turnout/adapters/adaptertest"
	"turnout/adapters/bot/webhook"
	"turnout/adapters/netguard"
)

func TestReach(t *testing.T) {
	plain, secure := httptest.NewServer(nil), httptest.NewTLSServer(nil)
	defer plain.Close()
	defer secure.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + free.Addr().String()
	free.Close()
	for name, tt := range map[string]struct {
		url   string
		guard bool
		says  string // empty: it can be reached
	}{
		"there":                   {plain.URL, false, ""},
		"gone":                    {gone, false, "url: the server cannot be reached"},
		"not allowed":             {plain.URL, true, "url: the address is private or reserved"},
		"a certificate of ours":   {secure.URL, false, "url: the server is there, but the TLS handshake fails"},
		"TLS where there is none": {strings.Replace(plain.URL, "http:", "https:", 1), false, "TLS handshake fails"},
	} {
		t.Run(name, func(t *testing.T) {
			k := adaptertest.New(t, "legacy")
			d := k.Deps
			d.Dial = new(net.Dialer).DialContext
			if tt.guard {
				d.Dial = netguard.New(nil).Dial
			}
			bot, err := webhook.New(adaptertest.YAML("url: "+tt.url+"\n"), d)
			if err != nil {
				t.Fatal(err)
			}
			defer bot.Close()
			err = bot.(adapters.Reacher).Reach(context.Background())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}
