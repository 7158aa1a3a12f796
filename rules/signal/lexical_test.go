package signal_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"turnout/rules/signal"
)

func TestHumanRequest(t *testing.T) {
	d := detector(t)
	for text, want := range map[string]bool{
		"hello, could you please put me through to somebody in your team?": true,
		"this is going nowhere. let me talk to a manager":                  true,
		"I'd rather not chat with a robot, is there any real person?":      true,
		"i dont want to talk to a bot":                                     true,
		"hola, necesito hablar con un asesor sobre mi factura":             true,
		"bonjour, je voudrais parler à un conseiller de ma facture":        true,
		"Können Sie mich bitte mit einem Mitarbeiter verbinden?":           true,
		"vorrei parlare con una persona del mio ordine":                    true,
		"por favor, gostaria de falar com um atendente sobre o pedido":     true,
		"Kan ik met een medewerker praten over mijn bestelling?":           true,
		"proszę połączyć mnie z konsultantem w sprawie faktury":            true,
		"jag vill prata med en människa om min order":                      true,
		"siparişim için müşteri temsilcisine bağlanmak istiyorum":          true,
		"соедините меня с оператором по поводу заказа":                     true,
		"أريد أن أتحدث مع موظف بخصوص طلبي":                                 true,
		"मुझे अपने ऑर्डर के बारे में किसी इंसान से बात करनी है":            true,
		"注文について担当者と話したいです":                                                 true,
		"주문 때문에 상담원 연결 부탁드려요":                                              true,
		"关于订单我想转人工客服":                                                      true,
		"i don't want to talk to a human":                                  false,
		"no need to speak with an agent, thanks":                           false,
		"my travel agent booked the wrong flight":                          false,
		"is the cleaning agent safe for pets":                              false,
		"can two people share one account":                                 false,
		"are you a real person?":                                           false,
		"the operator in my formula is wrong":                              false,
		"wo finde ich die Rechnung für zwei Personen?":                     false,
		"¿cuánto cuesta por persona?":                                      false,
		"この部屋は何人まで泊まれますか":                                                  false,
		"这个房间可以住几个人":                                                       false,
	} {
		s, _ := d.Customer(text, "", signal.Memory{})
		if got := s.HumanRequest >= 0.5; got != want {
			t.Errorf("%q: human_request %.2f", text, s.HumanRequest)
		}
	}
}

func TestBotFallback(t *testing.T) {
	d := detector(t)
	for text, want := range map[string]bool{
		"Sorry, I didn't quite get that. Could you rephrase?": true,
		"I'm afraid I cannot help you with this.":             true,
		"Lo siento, no entendí tu pregunta.":                  true,
		"Désolé, je n'ai pas compris.":                        true,
		"Das habe ich leider nicht verstanden.":               true,
		"Scusa, non ho capito.":                               true,
		"Desculpe, não entendi.":                              true,
		"抱歉，我不明白您的意思。":                                        true,
		"申し訳ありませんが、理解できませんでした。":                               true,
		"죄송합니다. 이해하지 못했습니다.":                                  true,
		"Извините, я не понял вопрос.":                        true,
		"عذرا، لم أفهم سؤالك":                                 true,
		"Your parcel arrives on Monday.":                      false,
		"Sorry for the delay! It ships today.":                false,
		"Tu pedido llega el lunes.":                           false,
		"您的订单明天送达。":                                           false,
	} {
		s, _ := d.Bot(text, signal.Memory{})
		if got := s.BotFallback >= 0.5; got != want {
			t.Errorf("%q: bot_fallback %.2f", text, s.BotFallback)
		}
	}
}

func TestFrustrationByWords(t *testing.T) {
	d := detector(t)
	for text, want := range map[string]bool{
		"this is ridiculous, nobody answers":            true,
		"WHERE IS MY ORDER?!! I already told you twice": true,
		"das ist doch lächerlich":                       true,
		"esto es una vergüenza, ya te lo dije":          true,
		"你们的服务太差了，浪费时间":                                 true,
		"where is my order?":                            false,
		"Thank you so much, that was great!!":           false,
		"con mi cuenta no puedo entrar":                 false,
		"IBAN DE89 3704 0044 0532 0130 00":              false,
		"最低价格是多少？":                                      false,
	} {
		s, _ := d.Customer(text, "", signal.Memory{})
		if got := s.Frustration >= 0.5; got != want {
			t.Errorf("%q: frustration %.2f", text, s.Frustration)
		}
	}
}

// TestDynamics plays a conversation that goes wrong: the same plain question weighs more the third time.
func TestDynamics(t *testing.T) {
	d := detector(t)
	var m signal.Memory
	var first, last signal.Scores
	for i := range 4 {
		var s, b signal.Scores
		s, m = d.Customer("where is the parcel that I ordered last week", "", m)
		if i == 0 {
			first = s
		}
		if i > 0 && s.Repeat < 0.9 {
			t.Errorf("round %d: repeat %.2f", i, s.Repeat)
		}
		last = s
		b, m = d.Bot("Sorry, I did not understand that. Please rephrase.", m)
		if i > 0 && b.BotRepeat < 0.9 {
			t.Errorf("round %d: bot_repeat %.2f", i, b.BotRepeat)
		}
	}
	if first.Frustration != 0 || last.Frustration < 0.5 {
		t.Errorf("frustration went from %.2f to %.2f", first.Frustration, last.Frustration)
	}
	if m.Fallbacks != 4 || m.Annoyed == 0 || m.Trend == 0 {
		t.Errorf("memory %+v", m)
	}
	_, m = d.Bot("Your parcel arrives on Monday.", m)
	if m.Fallbacks != 0 {
		t.Errorf("a good answer leaves %d fallbacks", m.Fallbacks)
	}
}

func TestRepeat(t *testing.T) {
	d := detector(t)
	_, m := d.Customer("I cannot log in to my account since yesterday evening, what should I do now", "", signal.Memory{})
	for text, want := range map[string]bool{
		"I CANNOT log in to my account since yesterday evening; what should I do now?!": true,
		"i cannot log in to my account since yesterday evening, what should i do":       true,
		"which colours do you have for the large garden chairs with the wooden legs":    false,
		"yes": false,
	} {
		s, _ := d.Customer(text, "", m)
		if got := s.Repeat >= 0.5; got != want {
			t.Errorf("%q: repeat %.2f", text, s.Repeat)
		}
	}
	_, m = d.Customer("yes", "", signal.Memory{})
	if s, _ := d.Customer("yes", "", m); s.Repeat >= 0.5 {
		t.Errorf("a second yes: repeat %.2f", s.Repeat)
	}
	if s, _ := d.Keyed([]byte("another key")).Customer("yes", "", m); s.Repeat != 0 {
		t.Error("digests under another key are comparable")
	}
}

func TestLanguage(t *testing.T) {
	d := detector(t)
	for text, want := range map[string]string{
		"where is my order":                                                   "en",
		"wo ist meine Bestellung und wann kommt sie an":                       "de",
		"¿dónde está mi pedido?":                                              "es",
		"où est ma commande s'il vous plaît":                                  "fr",
		"gdzie jest moja paczka i kiedy będzie":                               "pl",
		"где мой заказ":                                                       "ru",
		"我的订单在哪里":                                                             "zh",
		"注文はどこですか":                                                            "ja",
		"주문이 어디 있나요":                                                          "ko",
		"मेरा ऑर्डर कहाँ है":                                                  "hi",
		"missä minun tilaukseni on ja milloin se vihdoin toimitetaan kotiini": "fi",
		"ok 17": "nb",
		"":      "",
	} {
		_, m := d.Customer(text, "nb-NO", signal.Memory{})
		if m.Language != want {
			t.Errorf("%q: language %q, want %q", text, m.Language, want)
		}
	}
	m := signal.Memory{Language: "de"}
	if _, m = d.Customer("ok", "", m); m.Language != "de" {
		t.Errorf("a word changed the language to %q", m.Language)
	}
	if _, m = d.Customer("sorry, could you please answer in English, I do not understand what that is", "", m); m.Language != "en" {
		t.Errorf("a change of language was not seen: %q", m.Language)
	}
}

func TestMemoryJSON(t *testing.T) {
	d := detector(t)
	var m signal.Memory
	if data, _ := json.Marshal(m); string(data) != "{}" {
		t.Errorf("the empty memory is %s", data)
	}
	for i := range 4 {
		_, m = d.Customer(fmt.Sprintf("this is ridiculous, secret%d is not what I asked", i), "en", m)
		_, m = d.Bot("Sorry, I did not understand.", m)
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) >= 200 || strings.Contains(string(data), "secret") {
		t.Errorf("%d bytes: %s", len(data), data)
	}
	var back signal.Memory
	if err := json.Unmarshal(data, &back); err != nil || back != m {
		t.Errorf("read back %+v, %v", back, err)
	}
	for _, bad := range []string{`{"c":"12"}`, `{"c":"` + strings.Repeat("x", 48) + `"}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestScores(t *testing.T) {
	s := signal.Scores{HumanRequest: 0.93, Repeat: 1}
	if data, _ := json.Marshal(s); string(data) != `{"human_request":0.93,"repeat":1}` {
		t.Errorf("JSON is %s", data)
	}
	s = s.Merge(signal.Scores{HumanRequest: 0.1, BotRepeat: 0.5})
	for _, name := range signal.Names() {
		if _, ok := s.Get(name); !ok {
			t.Errorf("no score %s", name)
		}
	}
	if got, _ := s.Get("human_request"); got != 0.93 || s.BotRepeat != 0.5 {
		t.Errorf("merged %+v", s)
	}
	if _, ok := s.Get("medical_emergency"); ok {
		t.Error("a signal that is not computed has a score")
	}
}

func TestConcurrentAndPure(t *testing.T) {
	d := detector(t)
	want, wantMemory := d.Customer("where is my order, i want to talk to a human", "en", signal.Memory{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				d.Bot("Désolé, je n'ai pas compris.", signal.Memory{})
				got, m := d.Customer("where is my order, i want to talk to a human", "en", signal.Memory{})
				if got != want || m != wantMemory {
					t.Errorf("got %+v %+v", got, m)
					return
				}
			}
		})
	}
	wg.Wait()
}

func FuzzCustomer(f *testing.F) {
	d := detector(f)
	for _, s := range []string{
		"", "agent", "I WANT A HUMAN!!!", "\xff\xfe", "\xed\xa0\x80\xed\xb0\x80", "转人工", "👤👤", "e\u0301", "مرحبا", "l'agent s'il vous plaît",
		strings.Repeat("talk to a ", 10_000), strings.Repeat("人", 33_000), strings.Repeat("don't want to ", 7000), strings.Repeat("\u0301", 50_000),
	} {
		f.Add(s, "en")
	}
	f.Fuzz(func(t *testing.T, text, hint string) {
		s, m := d.Customer(text, hint, signal.Memory{})
		b, m2 := d.Bot(text, m)
		for _, name := range signal.Names() {
			for _, scores := range []signal.Scores{s, b} {
				if v, _ := scores.Get(name); !(v >= 0 && v <= 1) {
					t.Fatalf("%s is %v", name, v)
				}
			}
		}
		data, err := json.Marshal(m2)
		if err != nil || len(data) >= 200 || !utf8.Valid(data) {
			t.Fatalf("memory %s, %v", data, err)
		}
		signal.BareRequest(text)
	})
}
