package signal_test

import (
	"testing"

	"turnout/rules/signal"
)

func TestBareRequest(t *testing.T) {
	for _, text := range []string{
		"agent", "AGENT", " Agent! ", "aGeNt…", "human", "Human please", "representative", "operator", "OPERATOR!!!", "0", "#", " # ", "０", "ＡＧＥＮＴ",
		"speak to a person", "Speak to a human please", "talk to someone", "I want to talk to a human", "connect me to an agent", "real person", "live agent", "a real human, now",
		"👤 agent 🙏", "ágent", "agent agent agent", "customer service", "rep", "get me a human", "can i speak to a manager",
		"agente", "humano", "un humano por favor", "hablar con una persona", "quiero hablar con un agente", "OPERADOR",
		"Mitarbeiter", "Mensch bitte", "mit einem Menschen sprechen", "ich möchte mit einem Mitarbeiter sprechen", "ECHTER MENSCH",
		"humain", "un conseiller svp", "parler à un humain", "je veux parler à quelqu'un", "CONSEILLER",
		"operatore", "parlare con un operatore", "persona vera", "atendente", "falar com um atendente", "quero falar com uma pessoa",
		"medewerker", "een mens spreken", "ik wil een medewerker spreken", "konsultant", "chcę rozmawiać z człowiekiem", "operatör", "prata med en människa",
		"müşteri temsilcisi", "canlı destek", "gerçek bir insanla konuşmak istiyorum", "оператор", "позовите человека", "хочу поговорить с человеком",
		"موظف", "أريد التحدث مع موظف", "خدمة العملاء", "एजेंट", "इंसान से बात करनी है", "मुझे इंसान से बात करनी है", "insaan se baat karni hai",
		"オペレーター", "人と話したい", "オペレーターにつないでください", "担当者お願いします", "상담원", "상담원 연결", "상담원과 통화하고 싶어요"[:len("상담원과 통화")], "人工", "转人工", "人工客服", "我要转人工", "真人客服", "人工！",
	} {
		if !signal.BareRequest(text) {
			t.Errorf("%q is no request", text)
		}
	}
	for _, text := range []string{
		"", " ", "?", "1", "00 49", "is this agent yellow", "is this agent yellow?", "travel agent", "real estate agent", "human resources", "cleaning agent", "the agent was rude",
		"agent 47", "I am a human", "are you human", "are you human?", "are you a real person", "i do not want a human", "don't want to talk to an agent", "human rights", "my agent said no", "insurance agent",
		"operator precedence", "people", "person", "a", "the", "please", "hello", "thanks", "talk", "i want", "to", "call", "speak to my wife", "talk to you later", "what is a human", "agents of shield",
		"agente inmobiliario", "recursos humanos", "derechos humanos", "Menschenrechte", "droits humains", "agent immobilier", "права человека", "人工智能", "人间", "人数", "三人", "sí", "no", "ok", "да", "はい", "네", "好的",
		"# 4411", "order #0", "#1", "人", "사람들", "hi", "salut", "merci", "con", "chat", "i have to",
	} {
		if signal.BareRequest(text) {
			t.Errorf("%q is a request", text)
		}
	}
}
