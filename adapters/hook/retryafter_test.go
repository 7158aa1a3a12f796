package hook_test

import (
	"testing"

	"turnout/adapters/adaptertest"
	"turnout/adapters/hook"
)

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "7", "-1", "99999999999999", "Sat, 14 Mar 2026 09:27:53 GMT", "soon"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := hook.RetryAfter(s, adaptertest.Epoch); d < 0 || d > hook.MostRetryAfter {
			t.Errorf("%q: %v", s, d)
		}
	})
}
