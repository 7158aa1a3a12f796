package signal_test

import (
	"testing"

	"turnout/rules/signal"
)

// BenchmarkCustomer judges a message of about a hundred characters in a conversation under way.
func BenchmarkCustomer(b *testing.B) {
	d := detector(b)
	for name, text := range map[string]string{
		"en": "Hello, I ordered a lamp two weeks ago and it has not arrived, can I talk to somebody about it please?",
		"fr": "Bonjour, ma commande n'est toujours pas arrivée, je voudrais parler à un conseiller s'il vous plaît",
		"zh": "你好，我两周前订了一盏灯，到现在还没有收到，我想转人工客服问一下是怎么回事，谢谢",
	} {
		b.Run(name, func(b *testing.B) {
			_, m := d.Customer(text, "", signal.Memory{})
			b.ReportAllocs()
			for b.Loop() {
				d.Customer(text, "", m)
			}
		})
	}
}

func BenchmarkBareRequest(b *testing.B) {
	for b.Loop() {
		signal.BareRequest("Speak to a person, please!")
	}
}
