package pipeline

import "strings"

// sentences are what the gateway says of itself, where no rule says it, by language. English stands in for the rest.
type sentences struct {
	diverted, down, aside, back string
}

type table map[string]sentences

var texts = table{
	"en": {
		"I am passing you to a person. They can see everything you have written here.",
		"Our assistant is not available just now, so a person will take over. They can see everything you have written here.",
		"Our assistant is not available just now and many people are waiting. Your message is kept, and a person will answer it here.",
		"Our assistant is available again. What can it do for you?",
	},
	"es": {
		"Le paso con una persona. Podrá ver todo lo que ha escrito aquí.",
		"Nuestro asistente no está disponible en este momento; le atenderá una persona, que verá todo lo que ha escrito aquí.",
		"Nuestro asistente no está disponible y hay muchas personas esperando. Su mensaje queda guardado y una persona le responderá aquí.",
		"Nuestro asistente vuelve a estar disponible. ¿En qué puede ayudarle?",
	},
	"de": {
		"Ich gebe Sie an einen Menschen weiter. Alles, was Sie hier geschrieben haben, ist dort zu sehen.",
		"Unser Assistent ist gerade nicht erreichbar, deshalb übernimmt ein Mensch. Alles, was Sie hier geschrieben haben, ist dort zu sehen.",
		"Unser Assistent ist gerade nicht erreichbar und viele warten. Ihre Nachricht ist aufgehoben, ein Mensch antwortet Ihnen hier.",
		"Unser Assistent ist wieder da. Was kann er für Sie tun?",
	},
	"fr": {
		"Je vous passe une personne. Elle voit tout ce que vous avez écrit ici.",
		"Notre assistant n’est pas disponible pour le moment ; une personne prend le relais et voit tout ce que vous avez écrit ici.",
		"Notre assistant n’est pas disponible et beaucoup de personnes attendent. Votre message est conservé et une personne vous répondra ici.",
		"Notre assistant est de nouveau disponible. Que peut-il faire pour vous ?",
	},
	"pt": {
		"Vou passar você para uma pessoa. Ela vê tudo o que você escreveu aqui.",
		"Nosso assistente não está disponível agora; uma pessoa vai atender e vê tudo o que você escreveu aqui.",
		"Nosso assistente não está disponível e há muita gente esperando. Sua mensagem está guardada e uma pessoa responderá aqui.",
		"Nosso assistente está disponível de novo. Em que pode ajudar?",
	},
	"it": {
		"La metto in contatto con una persona, che vede tutto ciò che ha scritto qui.",
		"Il nostro assistente non è disponibile in questo momento: la seguirà una persona, che vede tutto ciò che ha scritto qui.",
		"Il nostro assistente non è disponibile e molte persone sono in attesa. Il suo messaggio è conservato e una persona le risponderà qui.",
		"Il nostro assistente è di nuovo disponibile. In che cosa può aiutarla?",
	},
	"nl": {
		"Ik verbind u door met een medewerker. Die ziet alles wat u hier hebt geschreven.",
		"Onze assistent is nu niet beschikbaar; een medewerker neemt het over en ziet alles wat u hier hebt geschreven.",
		"Onze assistent is nu niet beschikbaar en er wachten veel mensen. Uw bericht is bewaard en een medewerker antwoordt u hier.",
		"Onze assistent is er weer. Waarmee kan hij u helpen?",
	},
}

func (t table) in(lang string) (sentences, string) {
	base, _, _ := strings.Cut(lang, "-")
	if s, ok := t[base]; ok {
		return s, base
	}
	return t["en"], "en"
}

func (t table) handoff(lang string) (text, in string)  { s, l := t.in(lang); return s.diverted, l }
func (t table) botDown(lang string) (text, in string)  { s, l := t.in(lang); return s.down, l }
func (t table) captured(lang string) (text, in string) { s, l := t.in(lang); return s.aside, l }
func (t table) botBack(lang string) (text, in string)  { s, l := t.in(lang); return s.back, l }
