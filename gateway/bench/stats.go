package bench

import (
	"math"
	"slices"
)

// Spread is a figure over the rounds.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf returns the spread of values, the zero one if there are none. It leaves values as they are.
func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	median := v[mid]
	if len(v)%2 == 0 {
		median = (v[mid-1] + v[mid]) / 2
	}
	return Spread{Median: median, Min: v[0], Max: v[len(v)-1]}
}

// spreadBy is the spread of one figure of each cell.
func spreadBy(cells []Cell, figure func(Cell) float64) Spread {
	values := make([]float64, len(cells))
	for i, c := range cells {
		values[i] = figure(c)
	}
	return spreadOf(values)
}

// ratios is the spread of a figure's ratio to the base's of the same round. Rounds in which the base has none are left
// out.
func ratios(cells, base []Cell, figure func(Cell) float64) Spread {
	var values []float64
	for i := range min(len(cells), len(base)) {
		if b := figure(base[i]); b > 0 {
			values = append(values, figure(cells[i])/b)
		}
	}
	return spreadOf(values)
}

// percentile returns the p-th percentile (0..100) of sorted values by nearest rank, 0 if there are none.
func percentile[T int64 | float64](sorted []T, p float64) T {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
