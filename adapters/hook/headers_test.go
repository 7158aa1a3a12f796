package hook_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"turnout/adapters"
	"turnout/adapters/hook"
)

// What Headers lets through a client can send; what it could not send is said where it is written, and without its value.
func TestHeaderValues(t *testing.T) {
	got := ""
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("X-Key") }))
	defer s.Close()
	for value, ok := range map[string]bool{
		"plain": true, "with a\ttab": true, "käse": true, "canary\r\nX-Evil: 1": false, "canary\n": false, "canary\x00": false,
		"canary\x01": false, "canary\x7f": false, "canary\x1b[0m": false,
	} {
		headers, err := hook.Headers(map[string]string{"X-Key": "sealed:k"}, func(adapters.SecretRef) (adapters.Secret, error) {
			return adapters.NewSecret(value), nil
		})
		if ok != (err == nil) || err != nil && (strings.Contains(err.Error(), "canary") || !strings.HasPrefix(err.Error(), "headers.X-Key: ")) {
			t.Errorf("%q: %v", value, err)
		}
		if err != nil {
			continue
		}
		req, err := http.NewRequest(http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(headers[0].Name, headers[0].Value)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Errorf("%q cannot be sent: %v", value, err)
			continue
		}
		resp.Body.Close()
		if got != value {
			t.Errorf("sent %q, arrived as %q", value, got)
		}
	}
}
