package whatsapp

import (
	"strings"
	"testing"
)

func BenchmarkSplit(b *testing.B) {
	text := strings.Repeat("A sentence of some words, and one more. ", 2500) // 100 KB
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Split(text, MaxText)
	}
}

func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"object":"whatsapp_business_account","entry":[{"id":"9","changes":[{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550100","phone_number_id":"1000001"},"contacts":[{"profile":{"name":"Ada"},"wa_id":"15550101"}],"messages":[{"from":"15550101","id":"wamid.HBgLMTU1NTAxMDEVAgASGBQzQTdE","timestamp":"1760000000","type":"text","text":{"body":"Where is my order? I wait since Monday."}}]}}]}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if u, err := Decode(body); err != nil || len(u) != 1 || u[0].Message == nil {
			b.Fatal(u, err)
		}
	}
}
