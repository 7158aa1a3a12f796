package whatsapp

import "strings"

// personTexts and listTexts are the words on buttons, at most 20 characters each, where a tenant has none of its own.
var (
	personTexts = map[string]string{
		"en": "Talk to a person", "de": "Mit Mensch sprechen", "es": "Hablar con alguien", "fr": "Parler à quelqu'un",
		"it": "Parlare con qualcuno", "pt": "Falar com alguém", "nl": "Iemand spreken",
	}
	listTexts = map[string]string{
		"en": "Choose", "de": "Auswählen", "es": "Elegir", "fr": "Choisir", "it": "Scegli", "pt": "Escolher", "nl": "Kiezen",
	}
)

// inLang returns the words in a language: the tenant's own, then those built in, first for the tag as it is, then for the
// language in it, then English.
func inLang(tag string, own, builtin map[string]string) string {
	base, _, _ := strings.Cut(strings.ToLower(tag), "-")
	for _, key := range []string{tag, base, "en"} {
		for _, texts := range []map[string]string{own, builtin} {
			if s := texts[key]; s != "" {
				return s
			}
		}
	}
	return ""
}
