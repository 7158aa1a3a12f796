package web

import (
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

func TestContrast(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want float64
	}{
		{"#000000", "#ffffff", 21},
		{"#777777", "#ffffff", 4.48}, // the best known near miss
		{"#767676", "#ffffff", 4.54},
		{"#ff0000", "#ffffff", 4.00},
		{"#123456", "#123456", 1},
	} {
		a, errA := parseColour(c.a)
		b, errB := parseColour(c.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got := a.contrast(b); math.Abs(got-c.want) > 0.005 || got != b.contrast(a) {
			t.Errorf("%s on %s: %.3f, want %.2f", c.a, c.b, got, c.want)
		}
	}
	for _, bad := range []string{"", "#fff", "ffffff", "#gggggg", "#-12345", "#+12345", "red", "#1234567"} {
		if c, err := parseColour(bad); err == nil {
			t.Errorf("%q was read as %s", bad, c)
		}
	}
}

func TestThemeThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		theme ThemeConfig
		want  []string
	}{
		"pale accent":        {ThemeConfig{PaletteConfig: PaletteConfig{Accent: "#7fd1ff"}}, []string{"widget.theme: accent on background (#7fd1ff on #ffffff) has a contrast of 1.6"}},
		"words on accent":    {ThemeConfig{PaletteConfig: PaletteConfig{Accent: "#23593d", OnAccent: "#777777"}}, []string{"on_accent on accent"}},
		"just below":         {ThemeConfig{PaletteConfig: PaletteConfig{Accent: "#777777"}}, []string{"has a contrast of 4.4"}},
		"dark as background": {ThemeConfig{PaletteConfig: PaletteConfig{Background: "#101010"}}, []string{"text on background", "accent on background"}},
		"dark accent on dark": {ThemeConfig{Dark: PaletteConfig{Accent: "#23593d"}},
			[]string{"widget.theme.dark: accent on background"}},
		"no colour": {ThemeConfig{PaletteConfig: PaletteConfig{Accent: "green"}}, []string{`widget.theme.accent: a colour is written "#rrggbb"`}},
		"corners":   {ThemeConfig{Radius: 90, Bubble: -2}, []string{"widget.theme.radius", "widget.theme.bubble"}},
		"size":      {ThemeConfig{Size: 9}, []string{"widget.theme.size"}},
		"font":      {ThemeConfig{Font: "x;} body{display:none"}, []string{"widget.theme.font"}},
	} {
		w := WidgetConfig{Theme: c.theme}
		err := w.complete()
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not say %q", name, err, want)
			}
		}
	}
}

// Every accent that is taken on a light page makes a theme that can be read on both grounds, whatever its hue: what
// follows from it is never the tenant's fault.
func TestAnAccentIsEnough(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 5000 {
		accent := colour{uint8(random.UintN(256)), uint8(random.UintN(256)), uint8(random.UintN(256))}
		w := WidgetConfig{Theme: ThemeConfig{PaletteConfig: PaletteConfig{Accent: accent.String()}}}
		err := w.complete()
		readable := accent.contrast(white) >= minContrast && accent.contrast(white.mix(accent.vivid(), lightGround.soft)) >= minContrast
		if (err == nil) != readable {
			t.Fatalf("%s, contrast %.2f: %v", accent, accent.contrast(white), err)
		}
		if err != nil {
			continue
		}
		taken++
		for ground, p := range map[string]palette{"light": w.Theme.resolved().Light, "dark": w.Theme.resolved().Dark} {
			for pair, ratio := range map[string]float64{
				"on accent": p.OnAccent.contrast(p.Accent), "on background": p.Accent.contrast(p.Background), "on soft": p.Accent.contrast(p.Soft),
			} {
				if ratio < minContrast {
					t.Errorf("%s, %s, %s: %.2f", accent, ground, pair, ratio)
				}
			}
		}
	}
	if taken < 1000 {
		t.Errorf("only %d accents were taken", taken)
	}
}

// The colours that no tenant sets are in the widget's style sheet; what is judged here must be what is drawn there.
func TestGroundsAreTheStyleSheets(t *testing.T) {
	css, err := os.ReadFile("widget/src/widget.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(css), ".tw.dark {")
	if !ok {
		t.Fatal("the style sheet has no dark part")
	}
	dark, _, _ = strings.Cut(dark, "}")
	for part, g := range map[string]ground{light: lightGround, dark: darkGround} {
		for name, c := range map[string]colour{"text": g.text, "quiet": g.quiet, "bad": g.bad} {
			if want := "--" + name + ": " + c.String() + ";"; !strings.Contains(part, want) {
				t.Errorf("the style sheet has no %s in the part of %s", want, g.name)
			}
		}
	}
}
