package hostile

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestMalformedBodies: what is no message is refused with a word on what to mend.
func TestMalformedBodies(t *testing.T) {
	w := start(t, setup{})
	v := w.visitor(t, "acme")
	deep := strings.Repeat(`{"text":`, 5000) + "1" + strings.Repeat("}", 5000)
	for name, body := range map[string]string{
		"empty":              "",
		"blank":              " \n",
		"not JSON":           "hello",
		"cut off":            `{"id":"a","text":"x`,
		"trailing":           `{"id":"a","text":"x"} {"id":"b"}`,
		"a comma too many":   `{"id":"a","text":"x",}`,
		"single quotes":      `{'id':'a','text':'x'}`,
		"a comment":          `{"id":"a","text":"x"} // hi`,
		"a list":             `[{"id":"a","text":"x"}]`,
		"a string":           `"hello"`,
		"null":               `null`,
		"a number":           `1e999999`,
		"no id":              `{"text":"x"}`,
		"id of null":         `{"id":null,"text":"x"}`,
		"id of a number":     `{"id":7,"text":"x"}`,
		"id of an object":    `{"id":{"$ne":""},"text":"x"}`,
		"id empty":           `{"id":"","text":"x"}`,
		"id with a blank":    `{"id":"a b","text":"x"}`,
		"id with a line end": `{"id":"a\r\nX: y","text":"x"}`,
		"id with NUL":        `{"id":"a\u0000","text":"x"}`,
		"id of letters":      `{"id":"ä","text":"x"}`,
		"id too long":        `{"id":"` + strings.Repeat("a", 129) + `","text":"x"}`,
		"text of a number":   `{"id":"a","text":7}`,
		"text of a list":     `{"id":"a","text":["x"]}`,
		"text of a huge one": `{"id":"a","text":` + strings.Repeat("9", 10_000) + `}`,
		"text of true":       `{"id":"a","text":true}`,
		"text missing":       `{"id":"a"}`,
		"text blank":         `{"id":"a","text":" \t\n "}`,
		"text and action":    `{"id":"a","text":"x","action":{"id":"b","label":"c"}}`,
		"action of a string": `{"id":"a","action":"b"}`,
		"action without id":  `{"id":"a","action":{"label":"c"}}`,
		"attachments object": `{"id":"a","attachments":{"0":"b"}}`,
		"attachments mixed":  `{"id":"a","attachments":["b",7]}`,
		"attachments many":   `{"id":"a","attachments":[` + strings.Repeat(`"b",`, 5000) + `"b"]}`,
		"attachment path":    `{"id":"a","attachments":["../../etc/passwd\u0000"]}`,
		"wait of a string":   `{"id":"a","text":"x","wait":"no"}`,
		"wait of a number":   `{"id":"a","text":"x","wait":1e308}`,
		"lang of a number":   `{"id":"a","text":"x","lang":7}`,
		"lang of a path":     `{"id":"a","text":"x","lang":"../../en"}`,
		"nested":             deep,
		"nested lists":       strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000),
		"half a pair, high":  `{"id":"a","text":"\ud800"}`,
		"half a pair, low":   `{"id":"a","text":"\udc00"}`,
		"a pair turned":      `{"id":"a","text":"\udc00\ud800"}`,
		"half in a key":      `{"id":"a","text":"x","\ud800":1}`,
		"half in the label":  `{"id":"a","action":{"id":"b","label":"\udfff"}}`,
		"NUL":                `{"id":"a","text":"a\u0000b"}`,
		"escape":             `{"id":"a","text":"\u001b[31mred"}`,
		"bell, raw":          "{\"id\":\"a\",\"text\":\"\a\"}",
		"line end, raw":      "{\"id\":\"a\",\"text\":\"a\nb\"}",
		"delete":             `{"id":"a","text":"a\u007f"}`,
		"next line (C1)":     `{"id":"a","text":"a\u0085b"}`,
		"bad UTF-8":          "{\"id\":\"a\",\"text\":\"\xff\xfe\"}",
		"overlong UTF-8":     "{\"id\":\"a\",\"text\":\"\xc0\xaf\"}",
		"surrogate in UTF-8": "{\"id\":\"a\",\"text\":\"\xed\xa0\x80\"}",
		"cut off UTF-8":      "{\"id\":\"a\",\"text\":\"\xf0\x9f\x98\"}",
		"beyond Unicode":     "{\"id\":\"a\",\"text\":\"\xf4\x90\x80\x80\"}",
		"a mark first":       "\xef\xbb\xbf{\"id\":\"a\",\"text\":\"x\"}",
		"UTF-16":             "\xff\xfe{\x00}\x00",
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, w.call(t, "POST", v.base+"/messages", v.token, body), 400, "bad_request")
		})
	}
	long := `{"id":"a","text":"` + strings.Repeat("x", 8193) + `"}`
	refused(t, w.call(t, "POST", v.base+"/messages", v.token, long), 413, "too_large")
	if text, heard := w.bots["acme"].text("a"); heard {
		t.Errorf("one of them reached the bot as %q", text)
	}
	w.healthy(t, "acme")
}

// TestToleratedBodies: what is odd but has one meaning is taken, and means that.
func TestToleratedBodies(t *testing.T) {
	w := start(t, setup{})
	for name, c := range map[string]struct{ body, want string }{
		"unknown fields": {`{"id":"%s","text":"x","nested":{"a":[1,{"b":null}]},"admin":true,"__proto__":{}}`, "x"},
		"a huge number":  {`{"id":"%s","text":"x","n":1e99999}`, "x"},
		"first wins":     {`{"id":"%s","text":"first","text":"second"}`, "first"},
		"escaped":        {`{"id":"%s","text":"\u0041\ud83d\ude00\/"}`, "A😀/"},
		"line ends":      {`{"id":"%s","text":"a\r\nb\rc"}`, "a\nb\nc"},
	} {
		t.Run(name, func(t *testing.T) {
			v, id := w.visitor(t, "acme"), strings.ReplaceAll(name, " ", "-")
			v.outcome(t, w.call(t, "POST", v.base+"/messages", v.token, fmt.Sprintf(c.body, id)))
			if got, _ := w.bots["acme"].text(id); got != c.want {
				t.Errorf("the bot heard %q, want %q", got, c.want)
			}
		})
	}
}

// TestMalformedAgentBodies: the agents' side is as strict, and knows its fields.
func TestMalformedAgentBodies(t *testing.T) {
	w := start(t, setup{})
	v := w.visitor(t, "acme")
	conv := v.outcome(t, w.call(t, "POST", v.base+"/human", v.token, "")).Conversation
	ann := w.keys["acme/ann"]
	if a := w.call(t, "POST", "/v1/agent/presence", ann, "{}"); a.status != 200 {
		t.Fatal(a)
	}
	if a := w.call(t, "POST", "/v1/agent/conversations/"+conv+"/claim", ann, ""); a.status != 200 {
		t.Fatal(a)
	}
	for name, body := range map[string]string{
		"not JSON":         "reply",
		"a list":           `["text"]`,
		"unknown field":    `{"text":"x","html":"<b>"}`,
		"wrong type":       `{"text":{"a":1}}`,
		"two values":       `{"text":"x"}{}`,
		"half a pair":      `{"text":"\ud800"}`,
		"NUL":              `{"text":"\u0000"}`,
		"bad UTF-8":        "{\"text\":\"\xff\"}",
		"hold negative":    `{"text":"x","hold":-1}`,
		"hold huge":        `{"text":"x","hold":1e300}`,
		"hold beyond":      `{"text":"x","hold":1e999}`,
		"link of a script": `{"text":"x","link":"javascript:alert(1)"}`,
		"nested":           `{"choices":` + strings.Repeat("[", 12_000) + strings.Repeat("]", 12_000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, w.call(t, "POST", "/v1/agent/conversations/"+conv+"/reply", ann, body), 400, "bad_request")
		})
	}
	refused(t, w.call(t, "GET", "/v1/agent/queue?limit=99999999999999999999", ann, ""), 400, "bad_request")
	refused(t, w.call(t, "GET", "/v1/agent/conversations/"+conv+"?after=-1", ann, ""), 400, "bad_request")
	refused(t, w.call(t, "POST", "/v1/agent/login", "", `{"tenant":"acme","login":7}`), 400, "bad_request")
}

// TestEveryScript: text of any script, with marks of any kind, reaches the bot and comes back as it was written.
func TestEveryScript(t *testing.T) {
	w := start(t, setup{})
	flood := "e" + strings.Repeat("\u0301", 2000)
	for name, text := range map[string]string{
		"Latin":            "Zażółć gęślą jaźń, Pchnąć w tę łódź",
		"Vietnamese":       "Tiếng Việt có nhiều dấu",
		"Greek":            "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
		"Cyrillic":         "Съешь же ещё этих мягких булок",
		"Armenian":         "Բարեւ, ինչպե՞ս ես",
		"Georgian":         "გამარჯობა, როგორ ხარ",
		"Hebrew":           "שָׁלוֹם עוֹלָם",
		"Arabic":           "مرحبا بالعالم، كيف حالك؟",
		"Persian":          "می\u200cخواهم بدانم",
		"Urdu":             "آپ کیسے ہیں",
		"Syriac":           "ܫܠܡܐ",
		"Thaana":           "ދިވެހި",
		"NKo":              "ߒߞߏ",
		"Devanagari":       "नमस्ते, क्षत्रिय",
		"Bengali":          "বাংলা ভাষা",
		"Gurmukhi":         "ਸਤ ਸ੍ਰੀ ਅਕਾਲ",
		"Gujarati":         "કેમ છો",
		"Tamil":            "வணக்கம்",
		"Telugu":           "నమస్కారం",
		"Kannada":          "ನಮಸ್ಕಾರ",
		"Malayalam":        "നമസ്കാരം",
		"Sinhala":          "ආයුබෝවන්",
		"Thai":             "สวัสดีชาวโลก",
		"Lao":              "ສະບາຍດີ",
		"Tibetan":          "བོད་སྐད་",
		"Burmese":          "မင်္ဂလာပါ",
		"Khmer":            "សួស្តី",
		"Ethiopic":         "ሰላም ለዓለም",
		"Cherokee":         "ᎣᏏᏲ",
		"Canadian":         "ᐃᓄᒃᑎᑐᑦ",
		"Mongolian":        "ᠮᠣᠩᠭᠣᠯ",
		"Han":              "我想知道訂單在哪裡",
		"Han beyond":       "𠜎𠜱𠝹𠱓",
		"Kana":             "ご注文はいつ届きますか、ﾃｽﾄ",
		"Hangul":           "안녕하세요 세계",
		"Hangul jamo":      "\u1112\u1161\u11ab",
		"Tifinagh":         "ⵜⵉⴼⵉⵏⴰⵖ",
		"Gothic":           "𐌲𐌿𐍄",
		"Cuneiform":        "𒀀𒁀",
		"Hieroglyphs":      "𓂀𓃭",
		"Adlam":            "𞤀𞤣𞤤𞤢𞤥",
		"Deseret":          "𐐔𐐯𐑅",
		"Emoji":            "👩‍👩‍👧‍👦🏳️‍🌈👍🏽🇩🇪1️⃣",
		"Flags of tags":    "🏴\U000E0067\U000E0062\U000E0073\U000E0063\U000E0074\U000E007F",
		"Direction marks":  "a\u200eb\u200fc\u061cd",
		"Overrides":        "\u202eevil\u202c \u2066x\u2069 \u202bz",
		"Zero width":       "a\u200bb\u200cc\u200dd\u2060e\ufefff",
		"Soft hyphen":      "co\u00adop",
		"Separators":       "a\u2028b\u2029c\u00a0d\u3000e",
		"Variation":        "\u2764\ufe0f \u2764\ufe0e 葛\U000E0100",
		"Private use":      "\ue000\U000F0000\U0010FFFD",
		"Noncharacters":    "a\ufdd0b\ufffec\U0010ffffd",
		"Replacement":      "a\ufffdb",
		"Combining flood":  flood,
		"Interlinear":      "\ufff9a\ufffab\ufffb",
		"Math":             "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ∀x∈ℝ",
		"Composed apart":   "e\u0301 \u00e9 \u212b \u00c5",
		"Looks like JSON":  `{"id":"x","text":"\ud800"} \u0000 \\`,
		"Looks like HTML":  `<script>alert(1)</script>&amp;<!--`,
		"Looks like a log": `level=ERROR msg="pwned" %s %n %!d(MISSING)`,
		"Looks like a tag": `{{.Secret}} ${env:HOME} $(id) '; DROP TABLE x;--`,
	} {
		t.Run(name, func(t *testing.T) {
			v := w.visitor(t, "acme")
			o := v.say(t, text)
			got, _ := w.bots["acme"].text(v.lastID())
			if got != text {
				t.Errorf("the bot heard %+q, want %+q", got, text)
			}
			if len(o.Messages) != 1 || o.Messages[0].Part.Text != saidBefore+text {
				t.Errorf("the customer got %s", strconv.QuoteToASCII(fmt.Sprint(o)))
			}
		})
	}
}
