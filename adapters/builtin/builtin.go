// Package builtin is the table of the adapters in this build. A build with others writes its own table beside its own
// main.
package builtin

import (
	"turnout/adapters"
	"turnout/adapters/bot/openai"
	"turnout/adapters/bot/webhook"
	"turnout/adapters/callback"
	"turnout/adapters/profile"
	"turnout/adapters/web"
	"turnout/adapters/web/widget"
	"turnout/adapters/whatsapp"
)

// Registry returns the adapters of this build by the names that configurations use. Each call returns a new value.
func Registry() adapters.Registry {
	var r adapters.Registry
	r.AddChannel("web", web.New)
	r.AddPush("callback", callback.New)
	r.AddPush("whatsapp", whatsapp.New)
	r.AddConnection("whatsapp", whatsapp.NewConnection)
	r.AddShared(widget.Routes()...)
	r.AddBot("openai", openai.New)
	r.AddBot("webhook", webhook.New)
	r.AddDirectory("http", profile.New)
	return r
}
