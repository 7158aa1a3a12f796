package safeexpr_test

import (
	"testing"

	"turnout/rules/safeexpr"
)

func BenchmarkBool(b *testing.B) {
	p, err := safeexpr.Compile(`turns > 2 && score <= 0.5 && "vip" in tags`, env{}, safeexpr.Options{Bool: true})
	if err != nil {
		b.Fatal(err)
	}
	e := &env{Turns: 3, Score: 0.25, Tags: []string{"new", "vip"}}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Bool(e); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
