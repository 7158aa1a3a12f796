package audit

import (
	"bytes"
	"testing"
	"time"
)

// BenchmarkVerifyExport is what an entry costs a verifier: about 5 µs, so that ten million take less than a minute.
func BenchmarkVerifyExport(b *testing.B) {
	const entries = 20_000
	h := newHistory(b, entries)
	var export bytes.Buffer
	if _, err := Export(b.Context(), &export, h, "shop", h.key, time.UnixMilli(0)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(export.Len()))
	for b.Loop() {
		v, err := VerifyExport(bytes.NewReader(export.Bytes()), VerifyOptions{Keys: []string{h.key}})
		if err != nil || !v.OK {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
}
