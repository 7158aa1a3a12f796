package bench

import "testing"

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{7}, Spread{7, 7, 7}},
		{[]float64{9, 1, 5}, Spread{5, 1, 9}},
		{[]float64{4, 1, 2, 30}, Spread{3, 1, 30}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("spread of %v is %v, want %v", c.values, got, c.want)
		}
	}
	values := []float64{3, 1, 2}
	spreadOf(values)
	if values[0] != 3 {
		t.Error("the values were sorted in place")
	}
}

// TestRatios has a disturbed round in which both sides are slow: the ratio of that round is like the others.
func TestRatios(t *testing.T) {
	base := []Cell{{CPU: 10}, {CPU: 40}, {CPU: 0}, {CPU: 20}}
	cells := []Cell{{CPU: 20}, {CPU: 80}, {CPU: 5}, {CPU: 60}}
	if got, want := ratios(cells, base, cellCPU), (Spread{Median: 2, Min: 2, Max: 3}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := ratios(cells, nil, cellCPU); got != (Spread{}) {
		t.Errorf("without a base: %v", got)
	}
}

func TestPercentile(t *testing.T) {
	var hundred []int64
	for i := range int64(100) {
		hundred = append(hundred, i+1)
	}
	for _, c := range []struct {
		values []int64
		p      float64
		want   int64
	}{
		{nil, 50, 0}, {[]int64{8}, 99, 8}, {[]int64{1, 2}, 50, 1}, {[]int64{1, 2, 3}, 50, 2},
		{hundred, 99, 99}, {hundred, 100, 100}, {hundred, 0, 1},
	} {
		if got := percentile(c.values, c.p); got != c.want {
			t.Errorf("percentile %v of %d values is %d, want %d", c.p, len(c.values), got, c.want)
		}
	}
}

func TestSummarize(t *testing.T) {
	cells := []Cell{{TurnsPerSecond: 100, CPU: 30, Failed: 1, RSS: 5}, {TurnsPerSecond: 50, CPU: 60, Failed: 2, RSS: 9}}
	base := []Cell{{TurnsPerSecond: 200, CPU: 10}, {TurnsPerSecond: 200, CPU: 15}}
	p := summarize("x", cells, base)
	if p.Failed != 3 || p.RSS != 9 || *p.CPURatio != (Spread{3.5, 3, 4}) || *p.RateRatio != (Spread{0.375, 0.25, 0.5}) {
		t.Errorf("%+v", p)
	}
	if p := summarize("x", cells, nil); p.CPURatio != nil || p.RateRatio != nil {
		t.Errorf("ratios without a base: %+v", p)
	}
}
