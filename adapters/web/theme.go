package web

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// WidgetConfig is how the chat looks on the tenant's site.
type WidgetConfig struct {
	// Greeting is shown above an empty conversation, by language tag ("en", "pt-BR").
	Greeting map[string]string `yaml:"greeting"`
	Theme    ThemeConfig       `yaml:"theme"`
}

// ThemeConfig are the eight tokens that a tenant may set; everything else is fixed, so that contrast and the size of what
// is touched hold under any theme. Colours are "#rrggbb". What is left out follows from the accent.
type ThemeConfig struct {
	PaletteConfig `yaml:",inline"`
	// Radius and Bubble are the corners of the window and of messages in CSS pixels, 0 to 28; defaults 16 and 14. -1 is
	// square.
	Radius int `yaml:"radius"`
	Bubble int `yaml:"bubble"`
	// Font is a CSS font-family list of faces that the reader's system or the page has; nothing is loaded.
	Font string `yaml:"font"`
	// Size is the size of text in CSS pixels, 13 to 20; default 15.
	Size int `yaml:"size"`
	// Dark are the colours on a dark page.
	Dark PaletteConfig `yaml:"dark"`
}

// PaletteConfig are the colours of a theme.
type PaletteConfig struct {
	Accent string `yaml:"accent"` // buttons, the customer's own messages
	// OnAccent is what is written on the accent; default white or near-black, whichever can be read better.
	OnAccent string `yaml:"on_accent"`
	// Soft is the quiet form of the accent: messages of people, the way to a person.
	Soft       string `yaml:"soft"`
	Background string `yaml:"background"`
}

// theme is a complete theme, as the widget takes it.
type theme struct {
	Light  palette `json:"light"`
	Dark   palette `json:"dark"`
	Radius int     `json:"radius"`
	Bubble int     `json:"bubble"`
	Font   string  `json:"font,omitempty"`
	Size   int     `json:"size"`
}

type palette struct {
	Accent     colour `json:"accent"`
	OnAccent   colour `json:"on_accent"`
	Soft       colour `json:"soft"`
	Background colour `json:"background"`
}

// ground is what a palette stands on: the colours of the widget that no tenant sets (widget.css has the same).
type ground struct {
	name             string
	background       colour
	text, quiet, bad colour
	accent           colour  // where no accent is set at all
	soft             float64 // the share of the accent in its quiet form
	readable         colour  // what the other ground's accent moves to until it can be read on this one
}

var (
	white = colour{0xff, 0xff, 0xff}
	black = colour{0x12, 0x14, 0x18}

	lightGround = ground{
		name: "theme", background: white, text: colour{0x1b, 0x20, 0x25}, quiet: colour{0x54, 0x58, 0x5f},
		bad: colour{0xb3, 0x22, 0x28}, accent: colour{0x23, 0x59, 0x3d}, soft: 0.13, readable: black,
	}
	darkGround = ground{
		name: "theme.dark", background: colour{0x16, 0x18, 0x1c}, text: colour{0xe9, 0xeb, 0xee}, quiet: colour{0xab, 0xae, 0xb3},
		bad: colour{0xf8, 0x86, 0x84}, accent: colour{0x85, 0xc9, 0xa1}, soft: 0.16, readable: white,
	}
)

// minContrast is WCAG 2.2 AA for text.
const minContrast = 4.5

const (
	defaultRadius = 16
	defaultBubble = 14
	defaultSize   = 15
	maxRadius     = 28
	maxGreeting   = 1000
)

var fontList = regexp.MustCompile(`^[\pL\pN ,"'._-]{1,200}$`)

func (w *WidgetConfig) complete() error {
	var errs []error
	for lang, text := range w.Greeting {
		if lang == "" || checkLang(lang) != nil {
			errs = append(errs, fmt.Errorf(`widget.greeting: %q is no language tag such as "en" or "pt-BR"`, lang))
		}
		if text == "" || len(text) > maxGreeting {
			errs = append(errs, fmt.Errorf("widget.greeting.%s: must have 1 to %d bytes", lang, maxGreeting))
		}
	}
	t := &w.Theme
	fill(&t.Radius, defaultRadius)
	fill(&t.Bubble, defaultBubble)
	fill(&t.Size, defaultSize)
	for name, v := range map[string]*int{"radius": &t.Radius, "bubble": &t.Bubble} {
		if *v < -1 || *v > maxRadius {
			errs = append(errs, fmt.Errorf("widget.theme.%s: must lie between 0 and %d pixels, or be -1 for square", name, maxRadius))
		}
		*v = max(*v, 0)
	}
	if t.Size < 13 || t.Size > 20 {
		errs = append(errs, errors.New("widget.theme.size: must lie between 13 and 20 pixels"))
	}
	if t.Font != "" && !fontList.MatchString(t.Font) {
		errs = append(errs, errors.New("widget.theme.font: must be names of font families, separated by commas"))
	}
	_, err := t.PaletteConfig.resolve(lightGround, colour{})
	errs = append(errs, err)
	_, err = t.Dark.resolve(darkGround, t.accent())
	errs = append(errs, err)
	return errors.Join(errs...)
}

// resolved is the theme with everything that follows from what is set. complete has found nothing wrong with it.
func (t ThemeConfig) resolved() theme {
	light, _ := t.PaletteConfig.resolve(lightGround, colour{})
	dark, _ := t.Dark.resolve(darkGround, t.accent())
	return theme{Light: light, Dark: dark, Radius: t.Radius, Bubble: t.Bubble, Font: t.Font, Size: t.Size}
}

// accent is the tenant's accent on a light page, or the zero colour if none is set.
func (t ThemeConfig) accent() colour {
	if c, err := parseColour(t.Accent); err == nil {
		return c
	}
	return colour{}
}

// resolve completes a palette and refuses pairs that cannot be read. other is the accent of the other ground, which a
// missing accent is made from; the zero colour if there is none.
func (p PaletteConfig) resolve(g ground, other colour) (palette, error) {
	var out palette
	var errs []error
	read := func(key, value string, otherwise func() colour) colour {
		if value == "" {
			return otherwise()
		}
		c, err := parseColour(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("widget.%s.%s: %w", g.name, key, err))
		}
		return c
	}
	out.Background = read("background", p.Background, func() colour { return g.background })
	out.Accent = read("accent", p.Accent, func() colour {
		if other == (colour{}) {
			return g.accent
		}
		return other.until(g.readable, func(c colour) bool {
			return c.contrast(out.Background) >= 6 && c.contrast(out.Background.mix(c.vivid(), g.soft)) >= minContrast
		})
	})
	out.OnAccent = read("on_accent", p.OnAccent, func() colour {
		if white.contrast(out.Accent) >= black.contrast(out.Accent) {
			return white
		}
		return black
	})
	out.Soft = read("soft", p.Soft, func() colour { return out.Background.mix(out.Accent.vivid(), g.soft) })
	if len(errs) > 0 {
		return palette{}, errors.Join(errs...)
	}
	for _, pair := range []struct {
		on, under colour
		says      string
	}{
		{out.OnAccent, out.Accent, "on_accent on accent"},
		{out.Accent, out.Background, "accent on background"},
		{out.Accent, out.Soft, "accent on soft"},
		{g.text, out.Background, "text on background"},
		{g.quiet, out.Background, "quiet text on background"},
		{g.bad, out.Background, "error text on background"},
		{g.text, out.Soft, "text on soft"},
	} {
		if ratio := pair.on.contrast(pair.under); ratio < minContrast {
			errs = append(errs, fmt.Errorf("widget.%s: %s (%s on %s) has a contrast of %.1f; people need %.1f to read it",
				g.name, pair.says, pair.on, pair.under, math.Floor(ratio*10)/10, minContrast))
		}
	}
	return out, errors.Join(errs...)
}

// colour is a colour of sRGB.
type colour [3]uint8

func parseColour(s string) (colour, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "#"), 16, 32)
	if err != nil || len(s) != 7 || s[0] != '#' {
		return colour{}, errors.New(`a colour is written "#rrggbb"`)
	}
	return colour{uint8(n >> 16), uint8(n >> 8), uint8(n)}, nil
}

func (c colour) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// MarshalText implements encoding.TextMarshaler.
func (c colour) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// luminance is the relative luminance of WCAG 2.2 (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance).
func (c colour) luminance() float64 {
	var sum float64
	for i, weight := range [3]float64{0.2126, 0.7152, 0.0722} {
		v := float64(c[i]) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}

// contrast is the contrast ratio of WCAG 2.2, 1 to 21.
func (c colour) contrast(other colour) float64 {
	a, b := c.luminance(), other.luminance()
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

// mix is c with a share of other, 0 to 1.
func (c colour) mix(other colour, share float64) colour {
	for i := range c {
		c[i] = uint8(math.Round(float64(c[i])*(1-share) + float64(other[i])*share))
	}
	return c
}

// vivid is c as bright as its hue can be without becoming lighter than a pastel: a dark accent would only grey what it is
// mixed into.
func (c colour) vivid() colour {
	const bright = 210
	most := max(c[0], c[1], c[2])
	if most == 0 || most >= bright {
		return c
	}
	for i := range c {
		c[i] = uint8(int(c[i]) * bright / int(most))
	}
	return c
}

// until moves c towards end in small steps until ok; end itself is the last try.
func (c colour) until(end colour, ok func(colour) bool) colour {
	for share := 0.0; share < 1; share += 0.05 {
		if m := c.mix(end, share); ok(m) {
			return m
		}
	}
	return end
}
