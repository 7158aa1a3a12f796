package words_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"turnout/rules/words"
)

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"already folded":    "already folded",
		"MiXed Case":        "mixed case",
		"Crème Brûlée":      "creme brulee",
		"STRASSE straße":    "strasse strasse",
		"İstanbul ıssız":    "istanbul issiz",
		"ＡＧＥＮＴ":             "agent",
		"Łódź Øre Æble":     "lodz ore aeble",
		"Ёлка Йод":          "елка иод",
		"أريد إنسانًا":      "اريد انسانا",
		"ガイド ｶﾞｲﾄﾞ":         "ガイド ガイド",
		"हिंदी":             "हिंदी",
		"상담원":               "상담원",
		"can’t":             "can't",
		"a\u200bge\u00adnt": "agent",
		"ﬁne":               "fine",
		"e\u0301te\u0301":   "ete",
	} {
		if got := words.Fold(in); got != want {
			t.Errorf("Fold(%q) = %q, want %q", in, got, want)
		}
	}
}

func split(s string) []string {
	var out []string
	words.Each(words.Fold(s), func(w string) bool { out = append(out, w); return true })
	return out
}

func TestEach(t *testing.T) {
	for in, want := range map[string][]string{
		"":                        nil,
		" ... !!":                 nil,
		"I can't, l'agent s'il":   {"i", "can't", "l", "agent", "s", "il"},
		"it's 5pm":                {"it's", "5pm"},
		"转人工agent":                {"转", "人", "工", "agent"},
		"상담원 연결":                  {"상", "담", "원", "연", "결"},
		"मुझे इंसान":              {"मुझे", "इंसान"},
		"who's'":                  {"who's"},
		"rock'n'roll":             {"rock", "n", "roll"},
		"\xff\xfea\xed\xa0\x80b!": {"a", "b"},
	} {
		if got := split(in); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func find(t *testing.T, phrases []string, text string) []string {
	t.Helper()
	d, err := words.New(phrases)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	d.All(d.Tokens(words.Fold(text), nil), func(i int) { found = append(found, phrases[i]) })
	return found
}

func TestDictionary(t *testing.T) {
	phrases := []string{"chest pain", "pain", "Can't breathe", "转人工", "a b a b", "b a"}
	for text, want := range map[string][]string{
		"My CHEST  pain, again!":      {"chest pain", "pain"},
		"painful chests":              nil,
		"i can’t breathe":             {"Can't breathe"},
		"请帮我转人工服务":                    {"转人工"},
		"a b a b a b":                 {"a b a b", "b a", "a b a b", "b a"},
		"chest and pain":              {"pain"},
		strings.Repeat("chest ", 50):  nil,
		"che\u0301st pa\u00adin, ok?": {"chest pain", "pain"},
	} {
		if got := find(t, phrases, text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	d, _ := words.New(phrases)
	if i, n := d.Longest(d.Tokens("chest pain now", nil)); i != 0 || n != 2 {
		t.Errorf("Longest = %d, %d; want 0, 2", i, n)
	}
	if _, n := d.Longest(d.Tokens("chest now", nil)); n != 0 {
		t.Errorf("Longest of half a phrase has %d words", n)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, phrase := range []string{"", "?!", strings.Repeat("word ", words.MaxPhrase+1)} {
		if _, err := words.New([]string{phrase}); err == nil {
			t.Errorf("%q was taken", phrase)
		}
	}
}

// TestFoldTwoWays holds the quick way against the long one, which a trailing decomposed letter forces.
func TestFoldTwoWays(t *testing.T) {
	const force = " e\u0301"
	for r := rune(0x20); r < 0x1fb00; r++ {
		if r >= 0xd800 && r < 0xe000 {
			continue
		}
		text := "x" + string(r) + "x"
		if quick, long := words.Fold(text)+" e", words.Fold(text+force); !slices.Equal(split(quick), split(long)) {
			t.Errorf("%U: %q the quick way, %q the long way", r, quick, long)
		}
	}
}

// FuzzFold holds the folded form to what the dictionary relies on: valid, stable, and the same for a phrase and the
// text that quotes it.
func FuzzFold(f *testing.F) {
	for _, s := range []string{"Agent", "ｶﾞİıß", "\xff\xed\xa0\x80", "转人工", "e\u0301\u0301", "ﷺ", "l’agent"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		folded := words.Fold(s)
		if !utf8.ValidString(folded) && utf8.ValidString(s) {
			t.Fatalf("Fold(%q) = %q is not valid", s, folded)
		}
		if words.Check(s) != nil {
			return
		}
		d, err := words.New([]string{s})
		if err != nil {
			t.Fatal(err)
		}
		tokens := d.Tokens(folded, nil)
		if _, n := d.Longest(tokens); n != len(tokens) {
			t.Fatalf("%q is not found in itself", s)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	for name, text := range map[string]string{
		"folded": "where is my order, it should have been here on monday and nobody tells me what is happening now",
		"ascii":  "Where is my Order, it should have been here on Monday and nobody tells me what is happening now",
		"latin":  "Où est ma commande, elle aurait dû être livrée lundi et personne ne m'a prévenu jusqu'à présent",
		"han":    "我的订单在哪里，它应该在星期一到达，没有人告诉我现在发生了什么事情",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				words.Fold(text)
			}
		})
	}
}
